import { readFileSync } from 'node:fs'
import { spawnSync } from 'node:child_process'
import { availableParallelism, cpus, loadavg, release, totalmem } from 'node:os'
import { fileURLToPath } from 'node:url'
import { pinned } from './processes.ts'
import type { Result } from './result.ts'
import type { Verdict } from './targets.ts'

/** Where, when and with what it was measured. */
export interface Circumstances {
  readonly command: string
  readonly date: string
  readonly node: string
  readonly cpu: string
  readonly cpus: number
  readonly memoryGB: number
  readonly kernel: string
  /** Every process has its processor. */
  readonly pinned: boolean
  /** Of the machine, before anything was started: what disturbs. */
  readonly loadBefore: number
  readonly quick: boolean
  readonly rounds: number
  /** What is compared with. */
  readonly versions: Readonly<Record<string, string>>
}

/** Everything, as it is written to a file. */
export interface Report {
  readonly circumstances: Circumstances
  readonly results: readonly Result[]
  readonly verdicts: readonly Verdict[]
  readonly failures: readonly string[]
}

/** Of this machine, now. */
export function circumstances(
  node: string,
  {
    quick,
    rounds,
    args,
  }: { readonly quick: boolean; readonly rounds: number; readonly args: readonly string[] },
): Circumstances {
  const manifest = fileURLToPath(new URL('../package.json', import.meta.url))
  const { dependencies } = JSON.parse(readFileSync(manifest, 'utf8')) as {
    dependencies: Record<string, string>
  }
  const nginx = /nginx\/(\S+)/.exec(spawnSync('nginx', ['-v'], { encoding: 'utf8' }).stderr ?? '')?.[1]
  return {
    command: commandOf(args),
    date: new Date().toISOString(),
    node: spawnSync(node, ['--version'], { encoding: 'utf8' }).stdout.trim(),
    cpu: cpus()[0]?.model.trim() ?? 'unknown',
    cpus: availableParallelism(),
    memoryGB: Math.round(totalmem() / 2 ** 30),
    kernel: release(),
    pinned,
    loadBefore: loadavg()[0] ?? 0,
    quick,
    rounds,
    versions: { ...dependencies, ...(nginx === undefined ? {} : { nginx }) },
  }
}

/** What to type to measure the same; where it is written to does not matter. */
function commandOf(args: readonly string[]): string {
  const kept = args.filter(
    (arg, at) => !/^--(?:json|svg|node)/.test(arg) && !/^--(?:json|svg|node)$/.test(args[at - 1] ?? ''),
  )
  return ['npm run bench', ...(kept.length > 0 ? ['--', ...kept] : [])].join(' ')
}

/** The first line of what is printed. */
export function heading({ node, cpu, cpus, pinned, loadBefore, date }: Circumstances): string {
  const where = pinned ? 'the server has one of them for itself' : 'processes are not kept on processors'
  return `Node ${node}, ${cpus} processors (${cpu}), ${where}; load before: ${loadBefore.toFixed(1)}; ${date}`
}
