-- Begins or ends a login attempt. KEYS: the address' attempts, the pair's. Both are sorted sets of attempt ids by the
-- time at which each stops counting, in milliseconds of this server's own clock.
--
-- ARGV: "begin", "failed", "succeeded" or "unjudged"; id; address_max; pair_max; window_ms; lease_ms.
-- Answer of "begin": {0, 0} or {the limit that is used up, ms until a place is free}; of the others {0, 0}.

local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local verb, id, window, lease = ARGV[1], ARGV[2], tonumber(ARGV[5]), tonumber(ARGV[6])
local maxima = {tonumber(ARGV[3]), tonumber(ARGV[4])}

local function keep(key, until_ms)
  redis.call('ZADD', key, until_ms, id)
  redis.call('PEXPIRE', key, window + lease)
end

-- After a step back of the clock nobody waits for the old time to come.
local function clamp(key)
  for _, late in ipairs(redis.call('ZRANGEBYSCORE', key, '(' .. string.format('%.0f', now + window), '+inf')) do
    redis.call('ZADD', key, now + window, late)
  end
end

local function wait_ms(key, most)
  redis.call('ZREMRANGEBYSCORE', key, '-inf', string.format('%.0f', now))
  clamp(key)
  local excess = redis.call('ZCARD', key) - most
  if excess < 0 then
    return 0
  end
  return redis.call('ZRANGE', key, excess, excess, 'WITHSCORES')[2] - now
end

if verb == 'begin' then
  local worst, used_up = 0, 0
  for index, key in ipairs(KEYS) do
    local wait = wait_ms(key, maxima[index])
    if wait > worst then
      worst, used_up = wait, maxima[index]
    end
  end
  if worst > 0 then
    return {used_up, worst}
  end
  for _, key in ipairs(KEYS) do
    keep(key, now + lease)
  end
elseif verb == 'failed' then
  for _, key in ipairs(KEYS) do
    keep(key, now + window)
  end
else
  redis.call('ZREM', KEYS[1], id)
  if verb == 'succeeded' then
    redis.call('DEL', KEYS[2])
  else
    redis.call('ZREM', KEYS[2], id)
  end
end
return {0, 0}
