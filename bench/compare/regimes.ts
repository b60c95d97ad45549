import { r3 } from './regimes/burst.ts'
import { cancel } from './regimes/cancel.ts'
import { capacity } from './regimes/capacity.ts'
import { cold } from './regimes/cold.ts'
import { connections } from './regimes/connections.ts'
import { memory } from './regimes/memory.ts'
import { dialects, r1, r2 } from './regimes/paced.ts'
import { r0 } from './regimes/single.ts'
import { slow } from './regimes/slow.ts'
import { stores } from './regimes/stores.ts'
import type { Regime } from './rounds.ts'

/** All there are, in the order in which they run. */
export const regimes: readonly Regime[] = [
  r0,
  r1,
  r2,
  r3,
  dialects,
  stores,
  capacity,
  memory,
  slow,
  cancel,
  connections,
  cold,
]
