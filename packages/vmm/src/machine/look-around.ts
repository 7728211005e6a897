/**
 * How long a vCPU may stay inside the engine at a stretch.
 *
 * A thread inside the engine's native part hears nothing of its runtime, for example that the runtime is shutting down
 * and waits for its threads. Everything regular kicks it out; this is the net under what is not.
 */

const Second = 1e9;

/** The clock's time at which a vCPU comes back in any case: the same for all calls within a second, so that it is cheap. */
export function nextLookAround(now: number): number {
  return (Math.floor(now / Second) + 2) * Second;
}
