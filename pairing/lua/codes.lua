-- Is this code live? A wrong one is charged in the same act, so parallel guesses cannot pass together.
-- KEYS[1]   the code: exists while it is live and a while after
-- KEYS[2]   codes:since, "<second> <run id>": since then every code has been written to that server
-- KEYS[3..] failure limits: GCRA arrival times in microseconds, as ratelimit/lua/charge.lua keeps them
-- ARGV[1]   a code's life in seconds      ARGV[2] 1: codes may be missing here, count anew
-- ARGV[3..] per limit its tolerance and its emission interval, microseconds
-- Returns   {1} live; {0, trusted} unknown and charged, trusted 1: absence is proof; {-1, n, us} limit n
--           is exhausted for that long.
-- Clock     the server's: the limits are shared by hosts whose clocks differ. The run id tells a server
--           that restarted from an old file, whose absence proves nothing.
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
local arrivals, longest, at = {}, 0, 0
for i = 3, #KEYS do
  local tolerance, emission = tonumber(ARGV[2 * i - 3]), tonumber(ARGV[2 * i - 2])
  local kept = tonumber(redis.call('GET', KEYS[i]) or now)
  arrivals[i] = math.min(math.max(kept, now), now + tolerance) + emission
  local wait = arrivals[i] - tolerance - now
  if wait > longest then longest, at = wait, i - 2 end
end
if at > 0 then return {-1, at, longest} end
if redis.call('EXISTS', KEYS[1]) == 1 then return {1} end

for i = 3, #KEYS do
  local lives_ms = math.ceil((arrivals[i] - now) / 1000)
  redis.call('SET', KEYS[i], string.format('%.0f', arrivals[i]), 'PX', lives_ms)
end
local run = redis.call('INFO', 'server'):match('run_id:(%x+)')
local since, server = (redis.call('GET', KEYS[2]) or ''):match('^(%d+) (%x+)$')
if ARGV[2] == '1' or server ~= run then
  redis.call('SET', KEYS[2], time[1] .. ' ' .. run)
  return {0, 0}
end
return {0, time[1] - since > tonumber(ARGV[1]) and 1 or 0}
