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

/** One end of what connects the machine's thread and the translator's: `workerData` of the latter has the other. */
export interface TranslatorLink {
  readonly port: MessagePort;
  /** Word 0: results that were sent. */
  readonly sent: Int32Array;
}

export type TranslatorRequest =
  { readonly kind: 'setup'; readonly setup: CompilerSetup } | { readonly kind: 'job'; readonly job: RegionJob };

/** The translator's thread, for the main thread. */
export class TranslatorThread {
  /** For the machine's thread: its port is to be transferred. */
  readonly link: TranslatorLink;
  readonly #worker: Worker;

  constructor() {
    enableCompilationHints();
    const { port1, port2 } = new MessageChannel();
    const sent = new Int32Array(new SharedArrayBuffer(4));
    this.link = { port: port1, sent };
    this.#worker = new Worker(new URL('./translator-worker.js', import.meta.url), {
      name: 'translator',
      workerData: { port: port2, sent } satisfies TranslatorLink,
      transferList: [port2],
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
