import { execFileSync } from 'node:child_process'
import fs from 'node:fs'
import { createRequire } from 'node:module'
import os from 'node:os'
import path from 'node:path'
import { home, platforms } from './list.mjs'

/**
 * A program that has the names of Node-API and nothing behind them: it loads an addon of a C library for which there is no Node here, which
 * shows that all its symbols are found, and asks it for its version.
 */

const require = createRequire(import.meta.url)

const source = () => {
  const folder = path.dirname(require.resolve('node-api-headers/package.json'))
  const names = fs.readFileSync(path.join(folder, 'def/node_api.def'), 'utf8').match(/^\s*(napi|node_api)_\w+/gm)
  return `#include <dlfcn.h>
#include <stdio.h>
${[...new Set(names.map((name) => name.trim()))].map((name) => `int ${name}(void) { return 9; }`).join('\n')}
int main(int count, char** words) {
  void* addon = dlopen(words[1], RTLD_NOW);
  if (!addon) return printf("%s\\n", dlerror()), 1;
  int (*version)(void) = (int (*)(void))dlsym(addon, "node_api_module_get_api_version_v1");
  return printf("loads in a host without Node, Node-API %d\\n", version()), 0;
}
`
}

/** Compilers whose programs are of a C library other than this machine's, with what runs them. */
const COMPILERS = { 'linux-x64-musl': ['musl-gcc'] }

/** Loads an addon; what the host printed. Throws where it does not load. */
export function loadInStub(name, addon) {
  const compiler = name === home ? ['cc'] : COMPILERS[name]
  if (!compiler) throw new Error('no compiler here for programs that load it')
  const folder = fs.mkdtempSync(path.join(os.tmpdir(), 'feynkac-host-'))
  try {
    fs.writeFileSync(path.join(folder, 'host.c'), source())
    const host = path.join(folder, 'host')
    execFileSync(compiler[0], [...compiler.slice(1), '-rdynamic', '-o', host, path.join(folder, 'host.c')])
    const [program, ...args] = [...(name === home ? [] : platforms[name].run), host, addon]
    return execFileSync(program, args, { encoding: 'utf8' }).trim()
  } finally {
    fs.rmSync(folder, { recursive: true })
  }
}
