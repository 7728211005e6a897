/**
 * The thread that compiles translated code of the wasm engine, from both of its sides.
 *
 * The machine's thread never returns to its event loop: it takes results out of a port when a counter says that there are
 * some. A translator that ends is no failure of the machine: what it has not translated is interpreted.
 */
import type { MessagePort } from 'node:worker_threads';
import { MessageChannel, Worker, receiveMessageOnPort } from 'node:worker_threads';
import type {
  CompiledRegions,
  CompilerSetup,
  CreateCompiler,
  RegionJob,
} from '@lodger/vmm/engine/wasm/translator/region-compiler.js';
import { enableCompilationHints } from './compile-optimized.ts';

/** One end of what connects a thread that runs vCPUs and the translator's: `workerData` of the latter has the others. */
export interface TranslatorLink {
  readonly port: MessagePort;
  /** Word 0: results that were sent. */
  readonly sent: Int32Array;
}

export type TranslatorRequest =
  { readonly kind: 'setup'; readonly setup: CompilerSetup } | { readonly kind: 'job'; readonly job: RegionJob };

/** The translator's thread, for the main thread. */
export class TranslatorThread {
  /** For the machine's thread and those of vCPUs: the ports are to be transferred. */
  readonly links: readonly TranslatorLink[];
  readonly #worker: Worker;

  /** `users`: threads that it compiles for, each by itself. */
  constructor(users: number) {
    enableCompilationHints();
    const pairs = Array.from({ length: users }, () => ({
      channel: new MessageChannel(),
      sent: new Int32Array(new SharedArrayBuffer(4)),
    }));
    this.links = pairs.map(({ channel, sent }) => ({ port: channel.port1, sent }));
    const ours = pairs.map(({ channel, sent }): TranslatorLink => ({ port: channel.port2, sent }));
    this.#worker = new Worker(new URL('./translator-worker.js', import.meta.url), {
      name: 'translator',
      workerData: ours,
      transferList: ours.map(({ port }) => port),
    });
    this.#worker.on('error', (error) => process.emitWarning(`the translator ended: ${error.message}`));
  }

  async end(): Promise<void> {
    await this.#worker.terminate();
  }
}

/** Compiles on the translator's thread. */
export function compileThere({ port, sent }: TranslatorLink): CreateCompiler {
  return (setup) => {
    const post = (request: TranslatorRequest, transfer: ArrayBuffer[] = []): void =>
      port.postMessage(request, transfer);
    post({ kind: 'setup', setup });
    let taken = 0;
    return {
      submit: (job) => post({ kind: 'job', job }),
      poll() {
        if (Atomics.load(sent, 0) === taken) return undefined;
        taken = (taken + 1) | 0;
        return receiveMessageOnPort(port)?.message as CompiledRegions | undefined;
      },
    };
  };
}
