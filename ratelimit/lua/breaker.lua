-- What the fleet knows of its circuit breakers; one call tells and asks of any number of them.
--
-- KEYS    one per breaker: STRING "failures due", while it is open. due: when a probe is wanted, ms
-- ARGV    claim: for how long a probe is waited for, ms; kept: how long a record outlives its due, ms;
--         then three per breaker: act, failures, wait. act is
--           look   only ask
--           open   it has opened, after so many failures in a row, and is to be probed in `wait` ms
--           close  a probe sent after so many failures has succeeded
--           claim  may I probe it?
-- Returns two per breaker: its failures, -1 if it is closed; ms until a probe may be claimed. To `claim`: 0
--         ms grants it.
-- Clock   the server's: a due is the same moment for all, whatever their hosts' clocks say.
-- Why     failures order what is told: of two that open the later hears of the earlier, and news of a
--         success that came late does not undo a later failure. A claim moves the due: it is given once,
--         and lapses with a process that died while it probed. Where nothing is on record everybody may
--         probe: Redis has forgotten, or it is closed already.
local claim, kept, time = tonumber(ARGV[1]), tonumber(ARGV[2]), redis.call('TIME')
local now, answers = time[1] * 1000 + math.floor(time[2] / 1000), {}
for i, key in ipairs(KEYS) do
  local act, told, wait = ARGV[3 * i], tonumber(ARGV[3 * i + 1]), tonumber(ARGV[3 * i + 2])
  local failures, due = (redis.call('GET', key) or ''):match('^(%d+) (%d+)$')
  failures, due = tonumber(failures or -1), tonumber(due or now)
  local left = math.max(0, due - now)
  local function record(ms)
    redis.call('SET', key, string.format('%d %.0f', failures, now + ms), 'PX', ms + kept)
  end
  if act == 'open' and told > failures then
    failures, left = told, wait
    record(wait)
  elseif act == 'close' and told >= failures and failures >= 0 then
    failures, left = -1, 0
    redis.call('DEL', key)
  elseif act == 'claim' and failures >= 0 and left == 0 then
    record(claim)
  end
  answers[#answers + 1] = failures
  answers[#answers + 1] = left
end
return answers
