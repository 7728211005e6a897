/**
 * Lint rules: the recommended ones without type information (fast), and the layers of ARCHITECTURE.md as import rules.
 */
import js from '@eslint/js';
import tseslint from 'typescript-eslint';

const vmm = 'packages/vmm/src';
const wasmEngine = {
  regex: 'engine/wasm(/|$)',
  message: 'Nobody imports an engine but the place that chooses it (packages/node/src/threads/engines).',
};
const runtimeNeutral = [
  { regex: '^node:', message: 'packages/vmm is runtime-neutral: no node:* modules.' },
  { regex: '^[^.]', message: 'packages/vmm has no dependencies.' },
  { regex: '(^|/)packages/', message: 'packages/vmm imports no other package.' },
];

/** Folders of packages/vmm/src that the files in `folder` must not import. */
function not(...folders) {
  return {
    regex: `^(\\.\\./)+(${folders.join('|')})/`,
    message: `This layer may not import ${folders.join(', ')} (ARCHITECTURE.md, "Layers").`,
  };
}

/** One layer: what the non-test files under `folder` may not import, beside the runtime rules. */
function layer(folder, patterns, ignores = []) {
  return {
    files: [`${vmm}/${folder}**/*.ts`],
    ignores: ['**/*.test.ts', '**/*.test.*.ts', '**/testing/**', ...ignores.map((path) => `${vmm}/${path}/**`)],
    rules: { 'no-restricted-imports': ['error', { patterns: [...runtimeNeutral, ...patterns] }] },
  };
}

export default tseslint.config(
  { ignores: ['**/dist/**', 'packages/node/bundle/**', '**/node_modules/**', 'tests/differential/expected/**'] },
  js.configs.recommended,
  {
    files: ['**/*.ts'],
    extends: [tseslint.configs.recommended],
    rules: {
      '@typescript-eslint/consistent-type-imports': ['error', { fixStyle: 'separate-type-imports' }],
      '@typescript-eslint/no-unused-vars': ['error', { argsIgnorePattern: '^_', varsIgnorePattern: '^_' }],
      '@typescript-eslint/no-empty-function': 'off',
      '@typescript-eslint/no-non-null-assertion': 'off',
      'no-undef': 'off',
      eqeqeq: 'error',
      'no-constant-condition': ['error', { checkLoops: false }],
      // Every failure of the host's side is a HostError; plain Errors are for programming mistakes only.
      'no-throw-literal': 'error',
    },
  },
  { files: ['packages/vmm/src/types/*.ts'], rules: { '@typescript-eslint/no-namespace': 'off' } },
  {
    files: ['**/*.js'],
    languageOptions: {
      globals: Object.fromEntries(
        ['process', 'console', 'URL', 'AbortController', 'AbortSignal'].map((name) => [name, 'readonly']),
      ),
    },
  },
  layer('', [wasmEngine], ['engine/wasm', 'x86/instructions/semantics']),
  // Each instruction's meaning is written against the builder that the interpreter and the translator share.
  layer('x86/instructions/semantics/', [
    {
      regex: 'engine/wasm/(?!encoder/|interpreter/|emit/)',
      message: 'Semantics use the encoder and the vCPU layout only.',
    },
    not('machine', 'devices', 'boot', 'snapshot', 'bus', 'interrupts'),
  ]),
  layer('engine/wasm/', [not('machine/(?!memory-map)', 'devices', 'boot', 'snapshot')]),
  layer('devices/', [wasmEngine, not('engine', 'machine', 'boot', 'snapshot', 'x86')]),
  layer('bus/', [wasmEngine, not('engine', 'machine', 'devices', 'boot', 'snapshot', 'x86')]),
  layer('memory/', [wasmEngine, not('engine', 'machine', 'devices', 'boot', 'snapshot', 'x86', 'bus')]),
  layer('boot/', [wasmEngine, not('engine/(?!state|engine\\.ts)', 'machine/(?!memory-map)', 'snapshot')]),
  {
    files: ['packages/node/src/**/*.ts', 'benchmarks/**/*.ts'],
    ignores: ['**/*.test.ts', 'packages/node/src/threads/engines/**'],
    rules: { 'no-restricted-imports': ['error', { patterns: [wasmEngine] }] },
  },
);
