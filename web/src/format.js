// The numbers of the `.tfcd` format, those of tfcodec/coding/format.py; docs/FORMAT.md says what
// they mean.

export const MAGIC = [0x74, 0x66, 0x63, 0x64]; // "tfcd"
export const VERSION = 2;

export const TFC = 0; // coders
export const RANGE_CODER = 1;
export const MAX_LANES = 1024;

export const MAX_SYMBOL = 32767;
export const MAX_QUOTIENT = 255; // of a Rice code
export const MAX_RICE = 31;
export const CHECKSUM_MIX = [0x9e3779b1, 0x2c1b3c6d];
export const QUALITY_STEPS = 32; // in a unit of quality

export const DEFAULT_MAX_PIXELS = 2 ** 27;
export const PADDED_SIDE = 128; // a shorter side counts as so long, beyond so many pixels:
export const SMALL_PIXELS = 2 ** 22;
export const MAX_BYTES_PER_PIXEL = 16;
export const SPARE_BYTES = 2 ** 20;
export const MAX_METADATA = 2 ** 19;
