-- Takes one token from each of KEYS, or none from any. Times are milliseconds of this server's own clock.
--
-- ARGV, three for each key: algorithm ("t" token bucket, "w" sliding window), capacity, window_ms.
-- Answer: admitted (1 or 0), now_ms, then for each key: remaining tokens, ms until full, ms until a token is there.
--
-- The arithmetic is that of gateway/core/bucket.py, in whole numbers below 2^53, which Lua holds exactly: a token is
-- window_ms units, and capacity units come back every millisecond. A changed limit keeps the tokens, clamped. A clock
-- step back moves what lies in the future to now, also on refusal: nobody waits for the old time to come.

local SLOTS = 60

local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)

local function ceil_div(number, divisor)
  return math.ceil(number / divisor)
end

local function text(number)
  return string.format('%.0f', number)
end

local function keep_level(key, level, window)
  redis.call('SET', key, text(level) .. ':' .. text(now), 'PX', window + 1000)
end

local function level_now(key, capacity, window)
  local full = capacity * window
  local stored = redis.call('GET', key)
  if not stored then
    return full
  end
  local level, at = string.match(stored, '^(%d+):(%d+)$')
  level, at = tonumber(level), tonumber(at)
  if at > now then
    keep_level(key, level, window)
    at = now
  end
  return math.min(math.min(level, full) + math.min(now - at, window) * capacity, full)
end

local function keep_slot(key, slot, count, size)
  redis.call('HSET', key, text(slot), text(count))
  redis.call('PEXPIRE', key, (SLOTS + 2) * size)
end

local function spent_now(key, current, size)
  local spent, gone, moved = {}, {}, 0
  local stored = redis.call('HGETALL', key)
  for at = 1, #stored, 2 do
    local slot, count = tonumber(stored[at]), tonumber(stored[at + 1])
    if slot >= current - SLOTS and slot <= current then
      spent[slot] = count
    else
      gone[#gone + 1] = stored[at]
      moved = moved + (slot > current and count or 0)
    end
  end
  if moved > 0 then
    spent[current] = (spent[current] or 0) + moved
    keep_slot(key, current, spent[current], size)
  end
  if #gone > 0 then
    redis.call('HDEL', key, unpack(gone))
  end
  return spent
end

local function bucket_standing(level, capacity, window)
  local retry = 0
  if level < window then
    retry = ceil_div(window - level, capacity)
  end
  return math.floor(level / window), ceil_div(capacity * window - level, capacity), retry
end

local function window_standing(spent, capacity, size)
  local used, newest, slots = 0, nil, {}
  for slot, count in pairs(spent) do
    used = used + count
    slots[#slots + 1] = slot
    if not newest or slot > newest then
      newest = slot
    end
  end
  local function frees_in(slot)
    return math.max((slot + SLOTS + 1) * size - now, 1)
  end
  local full = newest and frees_in(newest) or 0
  local remaining = math.max(capacity - used, 0)
  if remaining > 0 then
    return remaining, full, 0
  end
  table.sort(slots)
  local to_free = used - capacity + 1
  for _, slot in ipairs(slots) do
    to_free = to_free - spent[slot]
    if to_free <= 0 then
      return 0, full, frees_in(slot)
    end
  end
  return 0, full, full
end

local admitted = 1
local states, answer = {}, {}
for index, key in ipairs(KEYS) do
  local kind, capacity, window = ARGV[index * 3 - 2], tonumber(ARGV[index * 3 - 1]), tonumber(ARGV[index * 3])
  local state = { kind = kind, capacity = capacity, window = window }
  local remaining, full, retry
  if kind == 't' then
    state.level = level_now(key, capacity, window)
    remaining, full, retry = bucket_standing(state.level, capacity, window)
  else
    state.size = ceil_div(window, SLOTS)
    state.slot = math.floor(now / state.size)
    state.spent = spent_now(key, state.slot, state.size)
    remaining, full, retry = window_standing(state.spent, capacity, state.size)
  end
  if remaining < 1 then
    admitted = 0
  end
  states[index] = state
  answer[#answer + 1] = remaining
  answer[#answer + 1] = full
  answer[#answer + 1] = retry
end

if admitted == 1 then
  answer = {}
  for index, key in ipairs(KEYS) do
    local state = states[index]
    local remaining, full, retry
    if state.kind == 't' then
      local level = state.level - state.window
      keep_level(key, level, state.window)
      remaining, full, retry = bucket_standing(level, state.capacity, state.window)
    else
      state.spent[state.slot] = (state.spent[state.slot] or 0) + 1
      keep_slot(key, state.slot, state.spent[state.slot], state.size)
      remaining, full, retry = window_standing(state.spent, state.capacity, state.size)
    end
    answer[#answer + 1] = remaining
    answer[#answer + 1] = full
    answer[#answer + 1] = retry
  end
end

table.insert(answer, 1, now)
table.insert(answer, 1, admitted)
return answer
