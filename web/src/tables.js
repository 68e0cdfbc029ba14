// The integer probability tables of a model: rows `[16, 0, c_1, ..., 65536]` one after the other in
// `lookup`, as tfcodec/coding/tables.py has them.

import { ModelError } from "./errors.js";

/** All tables of a model; row 0 is certain. */
export class CodingTables {
  /**
   * @param {Int32Array} lookup of all rows
   * @param {Int32Array} offsets value of each row's entry 0
   * @param {Int32Array} sizes entries of each row, the escape included
   * @throws {ModelError} if they do not fit together
   */
  constructor(lookup, offsets, sizes) {
    Object.assign(this, { lookup, offsets, sizes });
    this.starts = new Int32Array(sizes.length); // place of each row's 0
    let end = 0;
    sizes.forEach((size, row) => {
      this.starts[row] = end + 1;
      end += size + 2;
    });
    if (offsets.length !== sizes.length || lookup.length !== end) {
      throw new ModelError(
        `coding tables need ${end} numbers for their sizes, got ${lookup.length}; ` +
          "is the model's folder complete?",
      );
    }
  }

  get rows() {
    return this.sizes.length;
  }
}
