/**
 * What has to be done when the process (or the worker that the library was loaded in) exits, by whatever call or exception.
 *
 * Node joins its threads then, and a thread in guest code or asleep in the kernel hears nothing of that by itself.
 */

const actions = new Set<() => void>();

/** `action` must not wait for anything. The answer forgets it. */
export function onProcessExit(action: () => void): () => void {
  if (actions.size === 0) process.on('exit', runActions);
  actions.add(action);
  return () => {
    actions.delete(action);
    if (actions.size === 0) process.off('exit', runActions);
  };
}

function runActions(): void {
  for (const action of actions) action();
}
