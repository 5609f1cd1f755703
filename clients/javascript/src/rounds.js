// Rounds: one task for each of many workers, until enough have answered or the time is over.

import { DartError } from "./errors.js";
import { asCompleted } from "./job.js";

/**
 * What came of a round, by the workers' names.
 *
 * @typedef {object} Round
 * @property {Map<string, any>} values of those that answered, in that order
 * @property {Map<string, DartError>} errors of those whose task failed, was lost or expired
 * @property {string[]} stragglers those that had not answered when the round ended
 * @property {boolean} reached whether as many values came as were wanted
 * @property {number} seconds
 *
 * @typedef {object} RoundOptions
 * @property {number} [quorum] so many values are enough; all without it
 * @property {number} [deadlineSeconds] after which the round ends, whoever is missing
 * @property {boolean} [cancel] false: tasks of those that are late go on, and their results are kept at the server
 */

/**
 * @param {import("./job.js").Job} job
 * @param {Map<string, unknown> | Record<string, unknown>} parameters
 * @param {RoundOptions & import("./job.js").TaskOptions} options
 * @returns {Promise<Round>}
 */
export async function runRound(job, parameters, { quorum, deadlineSeconds, cancel = true, ...options }) {
  const asked = new Map(parameters instanceof Map ? parameters : Object.entries(parameters));
  const wanted = quorum ?? asked.size;
  if (!Number.isInteger(wanted) || wanted < 1 || wanted > asked.size) {
    throw new DartError(`quorum is ${wanted}; it must be 1 to ${asked.size}, the number of workers of the round.`, {
      code: 17, category: "invalid request",
    });
  }
  const began = Date.now();
  const names = [...asked.keys()];
  const tasks = await job.submitMany(asked.values(), { ...options, locations: names });
  const open = new Map(tasks.map((task, i) => [task, names[i]]));
  /** @type {Map<string, any>} */
  const values = new Map();
  /** @type {Map<string, DartError>} */
  const errors = new Map();
  const ends = asCompleted(tasks);
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  let timer;
  const late = new Promise((resolve) => {
    if (deadlineSeconds !== undefined) timer = setTimeout(resolve, Math.max(0, began + 1000 * deadlineSeconds - Date.now()));
  });
  while (values.size < wanted && open.size) {
    const next = /** @type {IteratorResult<import("./job.js").Task> | undefined} */ (await Promise.race([ends.next(), late]));
    if (next === undefined || next.done) break;
    const name = open.get(next.value) ?? "";
    open.delete(next.value);
    await next.value.result().then((value) => values.set(name, value), (error) => errors.set(name, error));
  }
  clearTimeout(timer);
  const stragglers = [...open.values()];
  if (cancel) await Promise.allSettled([...open.keys()].map((task) => task.cancel()));
  return { values, errors, stragglers, reached: values.size >= wanted, seconds: (Date.now() - began) / 1000 };
}
