// What can be wrong, each one sentence that is shown as it is; all else that is thrown is a bug.

/** The bytes are not a sound tfcodec file. */
export class ContainerError extends Error {}

/** The model that the file needs is missing, or not the one that wrote it. */
export class ModelError extends Error {}
