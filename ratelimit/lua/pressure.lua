-- The pressure under which the fleet's processes are: one call tells a process's own and asks for all.
--
-- KEYS[1] HASH process > "level until": what it said last, and until when that holds, in ms
-- ARGV    process, or '' to ask only; its level, 0 to 3; for how long that holds, ms
-- Returns process, level, process, level and so on, of all that hold
-- Clock   the server's: a word lapses at the same moment for all, whatever their hosts' clocks say.
-- Why     a process that has died must not press on the others for ever, nor stay in the hash.
local process, level, lives, time = ARGV[1], ARGV[2], tonumber(ARGV[3]), redis.call('TIME')
local now, answers = time[1] * 1000 + math.floor(time[2] / 1000), {}
if process ~= '' then
  redis.call('HSET', KEYS[1], process, string.format('%s %.0f', level, now + lives))
  redis.call('PEXPIRE', KEYS[1], lives)
end
local words = redis.call('HGETALL', KEYS[1])
for i = 1, #words, 2 do
  local said, holds = words[i + 1]:match('^(%d+) (%d+)$')
  if tonumber(holds) > now then
    answers[#answers + 1] = words[i]
    answers[#answers + 1] = tonumber(said)
  elseif process ~= '' then
    redis.call('HDEL', KEYS[1], words[i])
  end
end
return answers
