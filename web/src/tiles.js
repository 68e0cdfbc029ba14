// Large pictures in tiles, by the layout of tfcodec/exports/tiles.py: all tiles of a picture have
// one size, and what a border inside the picture spoils is thrown away.

const ACTIVATION_BYTES = 2 ** 26; // of the largest activation of a tile
const LEAST_SHARE = 3; // tiles are at least so many times as long as what is thrown away of them

/**
 * The spans of an axis, in order, all equally long.
 *
 * @param {number} side of the padded picture, a multiple of `stride`
 * @param {number} largest limit of a span's length
 * @param {[number, number]} margins pixels that a border spoils before and after a tile
 * @param {number} stride of the model
 * @returns {{start: number, stop: number, first: number, last: number}[]} pixels that a tile sees,
 *   and those that are kept
 */
export function spans(side, largest, margins, stride) {
  if (side <= largest) return [{ start: 0, stop: side, first: 0, last: side }];
  const lost = margins[0] + margins[1];
  const longest = Math.floor((largest - lost) / stride) * stride;
  const count = Math.ceil((side - lost) / longest);
  const step = up((side - lost) / count, stride); // equal shares
  const length = step + up(lost, stride);
  let first = 0;
  return Array.from({ length: count }, (_, k) => {
    const start = Math.min(k * step, side - length);
    const last = k === count - 1 ? side : start + length - margins[1];
    const span = { start, stop: start + length, first, last };
    first = last;
    return span;
  });
}

/**
 * [rows, columns] of each tile of a padded picture, pairs of spans, row by row.
 *
 * @param {object | null} tiling of the model's config.json; null for a model that sees it whole
 */
export function grid(height, width, tiling, stride) {
  const pixels = tiling ? Math.floor(ACTIVATION_BYTES / tiling.bytes_per_pixel) : Infinity;
  if (height * width <= pixels) {
    return [[spans(height, height)[0], spans(width, width)[0]]];
  }
  const margins = tiling.synthesis;
  const least = up(LEAST_SHARE * (margins[0] + margins[1]) + stride, stride);
  const down = (length) => Math.max(least, Math.floor(length / stride) * stride);
  const rows = spans(height, down(Math.floor(Math.sqrt(pixels))), margins, stride);
  const columns = spans(width, down(Math.floor(pixels / rows[0].stop)), margins, stride);
  return rows.flatMap((row) => columns.map((column) => [row, column]));
}

/** The next multiple from `number` on. */
function up(number, multiple) {
  return Math.ceil(number / multiple) * multiple;
}
