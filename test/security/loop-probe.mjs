// Loaded into a server process with `--import`: on SIGUSR2 it writes how long the event loop was kept at once, at most, in
// milliseconds since the last time. Time in which the process had no processor does not count.
let last = performance.now()
let used = process.cpuUsage()
let longest = 0

function tick() {
  const now = performance.now()
  const { user, system } = process.cpuUsage(used)
  longest = Math.max(longest, Math.min(now - last, (user + system) / 1000))
  last = now
  used = process.cpuUsage()
}

setInterval(tick, 1).unref()
process.on('SIGUSR2', () => {
  tick()
  process.stderr.write(`longest ${longest.toFixed(1)} ms\n`)
  longest = 0
})
