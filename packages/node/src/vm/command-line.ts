/** The kernel's command line: what Lodger asks of a Linux guest, then what the user appended. */
import type { VirtualMachineOptions } from './options.ts';

/** panic=-1: a kernel that panics resets at once, which ends the machine (docs/exit-codes.md). */
const Defaults = ['console=ttyS0', 'panic=-1'];

/** Understood by the default guest's /init (images/init-script.ts); other guests ignore them. */
export function linuxCommandLine(options: VirtualMachineOptions, term = process.env['TERM']): string {
  const { window, filter = false, append = '' } = options;
  const words = [...Defaults];
  if (filter) words.push('quiet', 'lodger.filter=1');
  if (window) words.push(`lodger.cols=${window.columns}`, `lodger.rows=${window.rows}`);
  if (window && term && /^[\w.+-]+$/.test(term)) words.push(`lodger.term=${term}`);
  if (append.trim() !== '') words.push(append.trim());
  return words.join(' ');
}
