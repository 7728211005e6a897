/**
 * A lock between the processes of one user on this host.
 *
 * It is a listening socket with an abstract name (unix(7) "Abstract sockets"): the kernel lets one process have it, and
 * gives it back when that process ends, however it ends. Nothing on disk can become stale. Processes in other network
 * namespaces are not kept out; atomic renames keep the cache whole even then.
 */
import { createHash } from 'node:crypto';
import { createConnection, createServer } from 'node:net';
import type { Server } from 'node:net';

export interface LockOptions {
  readonly signal?: AbortSignal | undefined;
  /** Called once when another process has the lock. */
  readonly onWait?: () => void;
}

/** Runs `work` while holding the lock called `name`; waits for another holder first. */
export async function withLock<T>(name: string, options: LockOptions, work: () => Promise<T>): Promise<T> {
  const digest = createHash('sha256').update(name).digest('hex').slice(0, 32);
  const address = `\0lodger-${process.getuid?.() ?? 0}-${digest}`;
  let server: Server | undefined;
  let waited = false;
  while (!(server = await tryListen(address))) {
    if (!waited) options.onWait?.();
    waited = true;
    await holderEnds(address, options.signal);
    options.signal?.throwIfAborted();
  }
  try {
    return await work();
  } finally {
    server.close();
  }
}

function tryListen(address: string): Promise<Server | undefined> {
  return new Promise((resolve, reject) => {
    const waiting = new Set<{ destroy(): void }>();
    const server = createServer((socket) => {
      waiting.add(socket);
      socket.on('error', () => {}).on('close', () => waiting.delete(socket));
      socket.resume();
    });
    server.once('error', (error: NodeJS.ErrnoException) => {
      if (error.code === 'EADDRINUSE') resolve(undefined);
      else reject(error);
    });
    // Those who wait are told by their connections' end.
    server.once('close', () => waiting.forEach((socket) => socket.destroy()));
    const close = server.close.bind(server);
    server.close = (callback) => {
      waiting.forEach((socket) => socket.destroy());
      return close(callback);
    };
    server.listen(address, () => {
      server.unref();
      resolve(server);
    });
  });
}

/** Resolves when the holder's socket closes, or at once when there is no holder any more. */
function holderEnds(address: string, signal: AbortSignal | undefined): Promise<void> {
  return new Promise((resolve) => {
    const socket = createConnection(address);
    const done = () => {
      signal?.removeEventListener('abort', done);
      socket.destroy();
      resolve();
    };
    signal?.addEventListener('abort', done);
    socket.on('error', done).on('close', done).on('end', done);
    socket.resume();
  });
}
