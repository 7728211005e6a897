/** A saved state looks like one: of the same form as the state of the machine that is to take it. */
import { HostError } from '../errors/host-error.ts';

/**
 * Compares the types of what both have, member by member; elements of a list with the template's first. What only one of
 * them has is a matter of engines and versions.
 *
 * @throws HostError('InvalidArgument')
 */
export function checkShape(value: unknown, template: unknown, path = 'state'): void {
  if (value === undefined || template === undefined || template === null) return;
  const wanted = kindOf(template);
  const found = kindOf(value);
  if (wanted !== found) {
    throw new HostError(
      'InvalidArgument',
      `the saved state is damaged (${path} is a ${found}, not a ${wanted}): use another copy of the file, or save the ` +
        'machine again',
    );
  }
  if (wanted === 'list') checkList(value as unknown[], template as unknown[], path);
  else if (wanted === 'object') {
    const members = value as Record<string, unknown>;
    for (const [name, member] of Object.entries(template as object))
      checkShape(members[name], member, `${path}.${name}`);
  }
}

function checkList(value: readonly unknown[], template: readonly unknown[], path: string): void {
  const isTuple = new Set(template.map(kindOf)).size > 1;
  value.forEach((element, index) => checkShape(element, template[isTuple ? index : 0], `${path}[${index}]`));
}

function kindOf(value: unknown): string {
  if (value === null) return 'null';
  if (Array.isArray(value)) return 'list';
  if (value instanceof Uint8Array) return 'row of bytes';
  // NaN and fractions of numbers that are none occur in no register
  return typeof value;
}
