-- May this device poll now? One that comes too early widens its own interval (RFC 8628, 3.5), but does
-- not push its next turn away: a device that never slows down still gets through once per interval.
-- KEYS[1]  the poll: "<interval in s> <last admitted, in ms>"; approval deletes it
-- ARGV[1]  interval in s   ARGV[2] step in s   ARGV[3] widest interval in s   ARGV[4] tolerance in ms
-- Returns  {admitted 1|0, interval in s, wait in ms}
-- Clock    the server's: consecutive polls may reach hosts whose clocks differ.
local time = redis.call('TIME')
local now = tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)
local interval, last = tonumber(ARGV[1]), nil
local kept = redis.call('GET', KEYS[1])
if kept then
  local widened, admitted = kept:match('^(%d+) (%d+)$')
  interval, last = math.max(interval, tonumber(widened or 0)), tonumber(admitted)
end
local admit = 1
if last and now >= last and now + tonumber(ARGV[4]) < last + interval * 1000 then
  admit = 0
  interval = math.min(interval + tonumber(ARGV[2]), math.max(interval, tonumber(ARGV[3])))
else
  last = now
end
local value = string.format('%d %.0f', interval, last)
redis.call('SET', KEYS[1], value, 'PX', interval * 10000)
return {admit, interval, math.max(0, last + interval * 1000 - now)}
