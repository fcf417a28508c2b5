-- Begins every script. All of them have the same keys, which share one slot.
-- Numbers are text in Redis and doubles in Lua: exact up to 2^53.
local LEASE, META, STREAM, ROWS, TERMS, MACHINES, SESSIONS, EPOCHS = unpack(KEYS)

local MAX_TERMS = 1000 -- ended terms that are known, some 30 bytes each
local MAX_EPOCHS = 1000 -- epochs before the present one in the same history, likewise

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
    'top', id, 'rows', '0', 'progress', '')
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
