// The client of DART for Node and browsers.

export { Client } from "./client.js";
export { DartError } from "./errors.js";
export { asCompleted, Job, Task } from "./job.js";
export { BlobReference, Float, NdArray, Timestamp } from "./value_types.js";
