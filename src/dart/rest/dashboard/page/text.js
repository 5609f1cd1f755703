// Numbers and times as people read them.

const WHOLE = new Intl.NumberFormat("en");
const SHORT = new Intl.NumberFormat("en", { maximumSignificantDigits: 3 });

const COMPACT = new Intl.NumberFormat("en", { notation: "compact" });

/** Where there is little room: 1M. @param {number} value */
export const short = (value) => COMPACT.format(value);

/** @param {number} value */
export const number = (value) => WHOLE.format(value);

/** @param {number} value a second */
export function rate(value) {
  return value >= 100 ? `${WHOLE.format(Math.round(value))}/s` : value >= 0.1 ? `${SHORT.format(value)}/s` : value > 0 ? `${SHORT.format(value * 60)}/min` : "";
}

/** @param {number} seconds */
export function duration(seconds) {
  if (seconds <= 0) {
    return "0 s";
  }
  if (seconds < 0.001) {
    return `${SHORT.format(seconds * 1e6)} µs`;
  }
  if (seconds < 1) {
    return `${SHORT.format(seconds * 1000)} ms`;
  }
  if (seconds < 60) {
    return `${SHORT.format(seconds)} s`;
  }
  const minutes = Math.floor(seconds / 60);
  if (minutes < 60) {
    return `${minutes} min ${Math.floor(seconds % 60)} s`;
  }
  const hours = Math.floor(minutes / 60);
  return hours < 48 ? `${hours} h ${minutes % 60} min` : `${Math.floor(hours / 24)} d ${hours % 24} h`;
}

/** In one unit, as beside a plot. @param {number} seconds */
export function brief(seconds) {
  const [size, unit] = seconds < 300 ? [1, ""] : seconds < 2 * 3600 ? [60, "min"] : seconds < 2 * 86400 ? [3600, "h"] : [86400, "d"];
  return unit ? `${SHORT.format(Math.round((10 * seconds) / size) / 10)} ${unit}` : seconds < 60 ? duration(seconds) : `${SHORT.format(seconds)} s`;
}

/** How long ago. @param {number | undefined} at Unix ms @param {number} now Unix ms of the server */
export function ago(at, now) {
  if (!at) {
    return "never";
  }
  const seconds = Math.max(0, (now - at) / 1000);
  return seconds < 2 ? "now" : `${brief(Math.round(seconds))} ago`;
}

/** The time of day, UTC as everywhere. @param {number} at Unix ms */
export const clock = (at) => new Date(at).toISOString().slice(11, 19);

/** @param {number | undefined} at Unix ms */
export function moment(at) {
  return at ? new Date(at).toISOString().replace("T", " ").slice(0, 19) : "";
}

/** Of today only the time. @param {number} at Unix ms @param {number} now */
export const when = (at, now) => (moment(at).slice(0, 10) === moment(now).slice(0, 10) ? clock(at) : moment(at));

/** @param {number} bytes */
export function size(bytes) {
  const units = ["bytes", "kB", "MB", "GB"];
  let unit = 0;
  for (; bytes >= 1000 && unit < units.length - 1; unit += 1) {
    bytes /= 1000;
  }
  return `${SHORT.format(bytes)} ${units[unit]}`;
}
