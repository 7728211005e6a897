/** Tables of text, for terminals and as markdown. The first column goes to the left, the others to the right. */

export type Cells = readonly (readonly string[])[];

/** Columns as wide as their widest cell; the first row is the heading. */
export function table(cells: Cells): string[] {
  const widths = columnWidths(cells);
  return cells.map((row) => padded(row, widths).join('  ').trimEnd());
}

/** The same in GitHub's notation. */
export function markdownTable(cells: Cells): string[] {
  const widths = columnWidths(cells).map((width) => Math.max(width, 2));
  const rows = cells.map((row) => `| ${padded(row, widths).join(' | ')} |`);
  const rule = widths.map((width, column) => (column === 0 ? '-'.repeat(width) : `${'-'.repeat(width - 1)}:`));
  return [rows[0]!, `| ${rule.join(' | ')} |`, ...rows.slice(1)];
}

function columnWidths(cells: Cells): number[] {
  return (cells[0] ?? []).map((_, column) => Math.max(...cells.map((row) => row[column]?.length ?? 0)));
}

function padded(row: readonly string[], widths: readonly number[]): string[] {
  return widths.map((width, column) => {
    const cell = row[column] ?? '';
    return column === 0 ? cell.padEnd(width) : cell.padStart(width);
  });
}
