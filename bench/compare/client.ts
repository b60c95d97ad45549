// The clients of a benchmark, all of them: a process of its own, as cheap as can be.
import { hold, type HoldJob, release } from './hold.ts'
import { type LoadJob, runLoad } from './load.ts'
import { serve } from './parent.ts'

console.log('listening on http://127.0.0.1:0')
serve({
  load: (job: LoadJob) => runLoad(job),
  hold: (job: HoldJob) => hold(job),
  release: () => release(),
})
