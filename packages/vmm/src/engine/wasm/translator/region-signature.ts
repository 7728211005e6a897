/** A region's function as the interpreter's loop calls it: (cpu, left, entry) -> left. */
export const RegionParams = ['i32', 'i32', 'i32'] as const;
export const RegionResults = ['i32'] as const;
