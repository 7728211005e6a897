/** The part of the WebAssembly JavaScript API that the engine uses: every runtime has it, no `lib` without DOM declares it. */
declare global {
  namespace WebAssembly {
    function validate(bytes: Uint8Array<ArrayBuffer>): boolean;
    type ImportValue = unknown;
    type ModuleImports = Record<string, ImportValue>;
    type Imports = Record<string, ModuleImports>;
    type Exports = Record<string, unknown>;
    class Module {
      constructor(bytes: Uint8Array<ArrayBuffer>);
    }
    class Instance {
      constructor(module: Module, imports?: Imports);
      readonly exports: Exports;
    }
    class Memory {
      constructor(descriptor: { initial: number; maximum: number; shared: true });
      readonly buffer: SharedArrayBuffer;
    }
    class Table {
      constructor(descriptor: { element: 'anyfunc'; initial: number });
      readonly length: number;
      grow(by: number): number;
      set(index: number, value: unknown): void;
    }
  }
}
export {};
