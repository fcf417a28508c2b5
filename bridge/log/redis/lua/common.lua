-- Begins every script. All of them have the same keys, which share one slot.
-- Numbers are text in Redis and doubles in Lua: exact up to 2^53.
local LEASE, META, STREAM, ROWS, TERMS, MACHINES, SESSIONS, EPOCHS = unpack(KEYS)

local MAX_TERMS = 1000 -- ended terms that are known, some 30 bytes each
local MAX_EPOCHS = 1000 -- epochs before the present one in the same history, likewise

-- A process whose last beat is so much older than the newest one before the server changed (ms) was
-- gone before: what it had read was stored long since.
local GONE_BEFORE = 10000

local function text(number)
  return string.format('%.0f', number)
end

-- The named fields of META by name; false: missing.
local function facts(...)
  local names, found = {...}, {}
  for i, value in ipairs(redis.call('HMGET', META, ...)) do
    found[names[i]] = value
  end
  return found
end

local function now_ms()
  local time = redis.call('TIME')
  return tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)
end

-- Id of the newest entry of the stream; '': there is none.
local function top_of_stream()
  local last = redis.call('XREVRANGE', STREAM, '+', '-', 'COUNT', 1)
  return last[1] and last[1][1] or ''
end

local function next_id(id)
  local seq, sub = string.match(id, '^(%d+)-(%d+)$')
  return seq .. '-' .. text(tonumber(sub) + 1)
end

-- Add an entry that has no events, so that the head stays. A stream that was deleted is not begun
-- again by it, since nothing would show the loss then.
local function add(...)
  local top = redis.call('HGET', META, 'top')
  if top and top_of_stream() == top then
    local id = next_id(top)
    redis.call('XADD', STREAM, id, ...)
    redis.call('HSET', META, 'top', id)
  end
end

-- Identifies the run of the server: another one after a restart or a failover. '': the server does not
-- tell scripts.
local function run_id()
  local info = redis.pcall('INFO', 'server')
  return type(info) == 'string' and string.match(info, 'run_id:(%x+)') or ''
end

-- Whether the server is another one than that on which the history is known to be whole, so that it
-- may lack its last entries. Each process that runs verifies what it has read; `verified` lists them.
local function server_changed()
  local run, m = run_id(), facts('epoch', 'server', 'changed_to')
  if not m.epoch or run == '' or m.server == run then
    return false
  end
  if m.changed_to ~= run then
    local newest = 0
    for _, beat in ipairs(redis.call('HVALS', MACHINES)) do
      newest = math.max(newest, tonumber(beat))
    end
    redis.call('HSET', META, 'changed_to', run, 'changed_at', text(now_ms()),
      'last_beat', text(newest), 'verified', ';')
  end
  return true
end

-- The history is whole on this server.
local function trust_server()
  redis.call('HSET', META, 'server', run_id())
  redis.call('HDEL', META, 'changed_to', 'changed_at', 'last_beat', 'verified')
end

-- What `process` has read is stored. If it made the last appends, that is all there was.
local function verify(process)
  if not server_changed() then
    return
  end
  local m = facts('leader', 'verified')
  if m.leader == process then
    trust_server()
  else
    redis.call('HSET', META, 'verified', m.verified .. process .. ';')
  end
end

-- Whether a process that may have read what this server lacks has not verified it: it is gone, or
-- can't reach the server.
local function is_unverified()
  local m = facts('last_beat', 'verified')
  local machines = redis.call('HGETALL', MACHINES)
  for i = 1, #machines, 2 do
    local beat = tonumber(machines[i + 1])
    if beat >= tonumber(m.last_beat) - GONE_BEFORE
        and not string.find(m.verified, ';' .. machines[i] .. ';', 1, true) then
      return true
    end
  end
  return false
end

-- End the present term, if there is one: its last append is known from now on.
local function end_term()
  local m = facts('term_id', 'appends')
  if m.term_id ~= '' then
    redis.call('RPUSH', TERMS, m.term_id .. ':' .. m.appends)
    redis.call('LTRIM', TERMS, -MAX_TERMS, -1)
    redis.call('HSET', META, 'term_id', '')
  end
end

-- Epochs are counted, so that one that a replica or a backup brought back is known for an old one.
local function count_of(epoch)
  return tonumber(string.match(epoch or '', '^(%d+)%.') or '0')
end

-- Begin another history, after everything that was read of the one before: `seen` is the epoch and
-- `above` the highest number that is known to the caller. Nothing of the old history stays, the
-- lease neither. `fresh` makes the epoch unique.
local function begin(fresh, shape, schema, seen, above)
  local m = facts('epoch', 'head', 'term')
  local epoch = text(math.max(count_of(m.epoch), count_of(seen)) + 1) .. '.' .. fresh
  local top = tonumber(string.match(top_of_stream(), '^(%d+)-') or '-1')
  local head = math.max(tonumber(above), tonumber(m.head or '-1'), top) + 1
  local id = head == 0 and '0-1' or text(head) .. '-0'
  redis.call('UNLINK', META, STREAM, ROWS, TERMS, SESSIONS, LEASE, EPOCHS)
  redis.call('HSET', META, 'schema', schema, 'shape', shape, 'epoch', epoch, 'head', text(head),
    'appends', '0', 'last', '', 'tag', '', 'term', m.term or '0', 'term_id', '', 'base', '0',
    'top', id, 'rows', '0', 'progress', '', 'server', run_id())
  redis.call('XADD', STREAM, id, 'k', 'h', 'm', epoch)
end

-- Why the stored history is not whole: keys were evicted, deleted or trimmed by hand. nil: it is.
local function damage()
  local m = facts('epoch', 'top', 'rows')
  if not m.epoch then
    return 'gone'
  end
  if top_of_stream() ~= m.top then
    return 'stream'
  end
  if redis.call('HLEN', ROWS) ~= tonumber(m.rows) then
    return 'rows'
  end
  return nil
end

-- Why the stored history is not the one that a process has read: the epoch, and the last append
-- with the term that made it. nil: it is.
local function loss(epoch, last, appends)
  local why = damage()
  if why then
    return why
  end
  local m = facts('epoch', 'term_id', 'appends')
  if m.epoch ~= epoch then
    return count_of(m.epoch) > count_of(epoch) and 'other' or 'back'
  end
  if last == '' then
    return nil -- nothing was appended
  end
  local stored
  if last == m.term_id then
    stored = m.appends
  else
    for _, ended in ipairs(redis.call('LRANGE', TERMS, 0, -1)) do
      local name, number = string.match(ended, '^(.*):(%d+)$')
      if name == last then
        stored = number
      end
    end
  end
  if not stored or tonumber(appends) > tonumber(stored) then
    return 'back' -- what the process has read last is not stored any more
  end
  return nil
end

-- Whether the lease is that of this term. A lease that lapsed is taken up again if no other term
-- has begun since.
local function holds(token, term_id)
  local holder = redis.call('GET', LEASE)
  return holder == token or (not holder and term_id ~= '' and redis.call('HGET', META, 'term_id') == term_id)
end
