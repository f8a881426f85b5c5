-- Shares out the fleet's slots among its processes; one call refreshes, or ends, one process's lease.
--
-- KEYS[1] ZSET process > expiry of its lease, ms since the epoch
-- KEYS[2] HASH process > "has wants critical" as it last reported, has including what it was granted
--              since; "#" > "last until": the last refresh by anybody, and the end of a recovery, ms
-- ARGV    process; has: slots it may be using now; wants: slots it could use, -1 ends the lease;
--         critical: that part of wants which is for critical requests; cap: the fleet's slots;
--         lease: ms (3000); now: ms, only in tests
-- Returns {slots granted, processes alive, ms until a recovery ends or 0}
-- Clock   the server's; set back by up to 1 s it stands still. A last refresh that is missing, older
--         than a lease or further in the future means an outage, a flush or a jump of it: then, for one
--         lease, all are granted only what they report to hold, for others may not be on record yet.
-- Why     max-min: nobody gets more while another, who wants it, has less. A tenth is for critical
--         requests: other demand counts up to nine tenths. Nobody is granted what others still have.
local process, has, wants, critical = ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3]), tonumber(ARGV[4])
local cap, lease, time = tonumber(ARGV[5]), tonumber(ARGV[6]), redis.call('TIME')
local now = tonumber(ARGV[7] or time[1] * 1000 + math.floor(time[2] / 1000))
local last, ends = (redis.call('HGET', KEYS[2], '#') or ''):match('(%d+) (%d+)')
if not last or now - last > lease or last - now > 1000 then
  redis.call('DEL', KEYS[1], KEYS[2])
  last, ends = now, now + lease
end
now = math.max(now, last)
local recovering = now < tonumber(ends)
for _, dead in ipairs(redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', now)) do redis.call('HDEL', KEYS[2], dead) end
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', now)
redis.call('ZREM', KEYS[1], process)
local held, normal, total = 0, { [process] = math.max(0, wants - critical) }, { [process] = critical }
for _, other in ipairs(redis.call('ZRANGE', KEYS[1], 0, -1)) do
  local h, w, c = redis.call('HGET', KEYS[2], other):match('(%d+) (%d+) (%d+)')
  held, normal[other], total[other] = held + h, math.max(0, w - c), tonumber(c)
end
local function fill(demands, room)
  local names, shares = {}, {}
  for name in pairs(demands) do names[#names + 1] = name end
  table.sort(names, function(a, b) return demands[a] < demands[b] or demands[a] == demands[b] and a < b end)
  for i, name in ipairs(names) do
    shares[name] = math.min(demands[name], math.floor(room / (#names - i + 1)))
    room = room - shares[name]
  end
  return shares
end
for name, share in pairs(fill(normal, cap - math.floor(cap / 10))) do total[name] = total[name] + share end
local grant = math.max(0, math.min(recovering and has or fill(total, cap)[process], cap - held))
redis.call('HSET', KEYS[2], '#', string.format('%.0f %.0f', now, ends))
if wants < 0 then redis.call('HDEL', KEYS[2], process) else
  redis.call('ZADD', KEYS[1], now + lease, process)
  redis.call('HSET', KEYS[2], process, string.format('%d %d %d', math.max(grant, has), wants, critical))
end
return {grant, redis.call('ZCARD', KEYS[1]), recovering and ends - now or 0}
