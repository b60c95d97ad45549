// The log of one reply is a stream, whose n-th delta has the id `n-0`, and a hash of what else is known of it:
//   by     the instance that produces it          owner  whose it is
//   start  what it begins with if it never began  lease  until when its producer is taken for alive
//   sealed the number of its last delta           ask    what is asked of its producer
//   read   when somebody last read it on another instance than its producer's
//   late   when its lease was first seen to have run out, unless it was heard of since
// A sealed reply keeps `by`, `owner` and `sealed`. The replies that a caller stores are a list, see `account`.
// Both keys share a hash tag, so that they are in one slot of a cluster. Times are the server's, in milliseconds. Redis
// runs a script as a whole or not at all, and each may be sent again when its answer was lost.

const clock = `
local function now()
  local time = redis.call('TIME')
  return time[1] * 1000 + math.floor(time[2] / 1000)
end
local function ago(at)
  return at and math.max(0, now() - at) or -1
end
local function last()
  local entry = redis.call('XREVRANGE', KEYS[1], '+', '-', 'COUNT', 1)[1]
  return entry and entry[2][2] or ''
end
`

/**
 * Marks a log as sealed. The hash is rewritten: a hash that held one long value, the start, keeps its large encoding
 * (520 bytes, then 96). A small stream is rewritten as well: Redis allocates its last node with 4096 bytes, and a copy
 * of the stream has what it needs. A user without the right to DUMP or RESTORE keeps the larger stream.
 */
const close = `
local function close(length, ttl, small)
  local meta = redis.call('HMGET', KEYS[2], 'by', 'owner')
  redis.call('DEL', KEYS[2])
  redis.call('HSET', KEYS[2], 'by', meta[1], 'owner', meta[2] or '', 'sealed', length)
  redis.call('PEXPIRE', KEYS[2], ttl)
  redis.call('PEXPIRE', KEYS[1], ttl)
  if not small then return end
  local copy = redis.pcall('DUMP', KEYS[1])
  if type(copy) == 'string' then redis.pcall('RESTORE', KEYS[1], ttl, copy, 'REPLACE') end
end
`

/** Ends a log in its producer's place: `start` before, when there is nothing yet. */
const seal = `${close}
local function seal(length, start, terminal, ttl, channel)
  if length == 0 and start then
    length = 1
    redis.call('XADD', KEYS[1], '1-0', 'd', start)
  end
  length = length + 1
  redis.call('XADD', KEYS[1], length .. '-0', 'd', terminal)
  close(length, ttl, false)
  redis.call('PUBLISH', channel, length)
  return length
end
`

/** Keys: log, hash. Arguments: instance, owner, start, lease, ttl. The log begins with the start, if there is one. 0 when there is one of somebody else's. */
export const create = `${clock}
local by = redis.call('HGET', KEYS[2], 'by')
if by then return by == ARGV[1] and 1 or 0 end
redis.call('HSET', KEYS[2], 'by', ARGV[1], 'owner', ARGV[2], 'start', ARGV[3], 'lease', string.format('%.0f', now() + ARGV[4]))
redis.call('PEXPIRE', KEYS[2], ARGV[5])
if ARGV[3] ~= '' then
  redis.call('XADD', KEYS[1], '1-0', 'd', ARGV[3])
  redis.call('PEXPIRE', KEYS[1], ARGV[5])
end
return 1
`

/**
 * Keys: log, hash. Arguments: the number of the first delta, ttl, channel, 1 when the last delta is terminal, 2 when
 * the whole log is small as well, deltas.
 * What the log has already is passed over; where one before the first is missing nothing is added.
 */
export const append = `${clock}${close}
local meta = redis.call('HMGET', KEYS[2], 'by', 'sealed', 'ask', 'read')
if not meta[1] then return {'gone'} end
local length = redis.call('XLEN', KEYS[1])
local from = tonumber(ARGV[1])
local to = from + #ARGV - 5
if meta[2] then
  local terminal = last()
  if ARGV[4] ~= '0' and length == to and terminal == ARGV[#ARGV] then return {'ok', length, '', -1} end
  return {'sealed', length, terminal}
end
if length < from - 1 then return {'gap', length} end
local empty = length == 0
for i = length - from + 6, #ARGV do
  redis.call('XADD', KEYS[1], (from + i - 5) .. '-0', 'd', ARGV[i])
end
length = math.max(length, to)
if ARGV[4] ~= '0' then
  close(length, ARGV[2], ARGV[4] == '2')
elseif empty then
  redis.call('PEXPIRE', KEYS[1], ARGV[2])
end
redis.call('PUBLISH', ARGV[3], length)
return {'ok', length, meta[3] or '', ago(meta[4])}
`

/** Keys: log, hash. Arguments: lease, ttl. The producer is alive, and asks what it is asked. */
export const renew = `${clock}
local meta = redis.call('HMGET', KEYS[2], 'by', 'sealed', 'ask', 'read')
if not meta[1] then return {'gone'} end
local length = redis.call('XLEN', KEYS[1])
if meta[2] then return {'sealed', length, last()} end
redis.call('HSET', KEYS[2], 'lease', string.format('%.0f', now() + ARGV[1]))
redis.call('HDEL', KEYS[2], 'late')
redis.call('PEXPIRE', KEYS[1], ARGV[2])
redis.call('PEXPIRE', KEYS[2], ARGV[2])
return {'ok', length, meta[3] or '', ago(meta[4])}
`

/**
 * Keys: log, hash. Arguments: 1 when somebody reads it here, what it ends with when its producer is lost, ttl, channel,
 * for how long a producer must be late: it may have been Redis that nobody could reach.
 * May write when there is no memory left: it lets go of more than it takes.
 */
export const look = `#!lua flags=allow-oom
${clock}${seal}
local meta = redis.call('HMGET', KEYS[2], 'by', 'sealed', 'lease', 'owner', 'start', 'late')
if not meta[1] then return {'gone'} end
local length = redis.call('XLEN', KEYS[1])
local sealed = meta[2]
local late = not sealed and tonumber(meta[3]) < now()
if late and not meta[6] then
  redis.call('HSET', KEYS[2], 'late', string.format('%.0f', now()))
elseif late and ago(meta[6]) >= tonumber(ARGV[5]) then
  length = seal(length, meta[5], ARGV[2], ARGV[3], ARGV[4])
  sealed = length
end
if not sealed and ARGV[1] == '1' then
  redis.call('HSET', KEYS[2], 'read', string.format('%.0f', now()))
end
return {'ok', length, sealed and tonumber(sealed) or 0, meta[4], sealed and last() or ''}
`

/** As `look`, for a server that takes no writes now: nothing is noted, and a lost producer's reply is not ended. */
export const lookOnly = `#!lua flags=no-writes
${clock}
local meta = redis.call('HMGET', KEYS[2], 'by', 'sealed', 'owner')
if not meta[1] then return {'gone'} end
local length = redis.call('XLEN', KEYS[1])
return {'ok', length, meta[2] and tonumber(meta[2]) or 0, meta[3], meta[2] and last() or ''}
`

/**
 * Keys: log, hash. Arguments: what is asked, the beginning of producers' channels, the reply's id, and, when it is to
 * end without its producer, what it ends with, ttl, channel.
 */
export const ask = `#!lua flags=allow-oom
${clock}${seal}
local meta = redis.call('HMGET', KEYS[2], 'by', 'sealed', 'ask', 'start')
if not meta[1] then return {'gone'} end
if meta[2] then return {'sealed'} end
if ARGV[4] then
  seal(redis.call('XLEN', KEYS[1]), meta[4], ARGV[4], ARGV[5], ARGV[6])
  return {'sealed'}
end
if meta[3] ~= 'stop' then redis.call('HSET', KEYS[2], 'ask', ARGV[1]) end
redis.call('PUBLISH', ARGV[2] .. meta[1], ARGV[1] .. ' ' .. ARGV[3])
return {'asked'}
`

/** Key: a name, whose value is the id of a reply and a note, as JSON. Argument: the id of a reply. */
export const release = `
local value = redis.call('GET', KEYS[1])
if value and cjson.decode(value)[1] == ARGV[1] then return redis.call('DEL', KEYS[1]) end
return 0
`

/** Key: a name. Arguments: the id of a reply, ttl. A name that is another reply's by now is left alone. */
export const extend = `
local value = redis.call('GET', KEYS[1])
if value and cjson.decode(value)[1] == ARGV[1] then return redis.call('PEXPIRE', KEYS[1], ARGV[2]) end
return 0
`

/**
 * Adds a reply to the list of what its caller stores, and removes from the list, the oldest first, what has expired and
 * what exceeds the quota. The newest reply always stays. Each entry is `[expires, total, bytes, id, names]`: when it
 * expires, in seconds, and the bytes of all entries up to this one, so that the two ends of the list give their sum.
 *
 * Key: the list. Arguments: id, bytes, ttl, quota, names, how many entries one call may remove. Returns 1 when it has
 * removed that many, then the removed entries that have not expired: their keys are the instance's to delete.
 * May write when there is no memory left: it makes room.
 */
export const account = `#!lua flags=allow-oom
local function at(index)
  local entry = redis.call('LINDEX', KEYS[1], index)
  return entry and cjson.decode(entry), entry
end
local now = tonumber(redis.call('TIME')[1])
local last = at(-1)
if not last or last[4] ~= ARGV[1] then
  local bytes = tonumber(ARGV[2])
  last = {now + math.ceil(ARGV[3] / 1000), (last and last[2] or 0) + bytes, bytes, ARGV[1], ARGV[5]}
  redis.call('RPUSH', KEYS[1], cjson.encode(last))
  redis.call('PEXPIRE', KEYS[1], ARGV[3])
end
local removed = {0}
for i = 1, tonumber(ARGV[6]) do
  local first, entry = at(0)
  if first[4] == last[4] then return removed end
  local live = first[1] > now
  if live and last[2] - first[2] + first[3] <= tonumber(ARGV[4]) then return removed end
  redis.call('LPOP', KEYS[1])
  if live then table.insert(removed, entry) end
end
removed[1] = 1
return removed
`
