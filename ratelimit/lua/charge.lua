-- Decides a batch of requests against their limits (GCRA): in order, each seeing the charges of those
-- before it. All or nothing per request: a refused one charges none of its keys.
--
-- KEYS    one per charge, request after request: the TAT, in microseconds since the epoch, as a string
--         that lapses when the TAT has passed. No key occurs twice within one request.
-- ARGV    1: the requests, each followed by ";": "emission tolerance increment" of each of its charges,
--         space-separated, microseconds. A negative increment is a refund, always allowed; 0 only looks.
-- Returns one string, a word per request: "1,slack,..." when allowed, "0,slack,wait,slack,wait,..." when
--         refused. slack: from the TAT to the end of its window; wait: until allowed; microseconds.
-- Clock   the server's, for the hosts of a fleet do not agree on the time. A TAT beyond its window can
--         only come from a jump of that clock: it is cut to the window, or the caller would wait for
--         the clock to catch up. That repair is the only write a refusal can cause.
-- Why     one MGET, and one SET per changed key however many requests of the batch share it.
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
local stored, tats, changed, shapes, answer = redis.call('MGET', unpack(KEYS)), {}, {}, {}, {}
for i, key in ipairs(KEYS) do tats[key] = math.max(now, tonumber(stored[i] or now)) end

local function digits(number) return string.format('%.0f', number) end
local function shape(text)
  local numbers = {}
  for number in text:gmatch('%S+') do numbers[#numbers + 1] = tonumber(number) end
  return numbers
end

local first = 0
for text in ARGV[1]:gmatch('([^;]+);') do
  local spec = shapes[text] or shape(text)
  shapes[text] = spec
  local refused, words = false, {}
  for i = 1, #spec, 3 do
    local key, horizon, increment = KEYS[first + (i + 2) / 3], now + spec[i + 1], spec[i + 2]
    if tats[key] > horizon then tats[key], changed[key] = horizon, true end
    refused = refused or (increment > 0 and tats[key] + increment > horizon)
  end
  for i = 1, #spec, 3 do
    local key, horizon, increment = KEYS[first + (i + 2) / 3], now + spec[i + 1], spec[i + 2]
    local after = math.max(now, tats[key] + increment)
    if not refused and after ~= tats[key] then tats[key], changed[key] = after, true end
    words[#words + 1] = digits(horizon - tats[key])
    if refused then words[#words + 1] = digits(increment > 0 and math.max(0, after - horizon) or 0) end
  end
  answer[#answer + 1] = (refused and '0,' or '1,') .. table.concat(words, ',')
  first = first + #spec / 3
end
for key in pairs(changed) do
  local lives_ms = math.ceil((tats[key] - now) / 1000)
  if lives_ms > 0 then redis.call('SET', key, digits(tats[key]), 'PX', digits(lives_ms)) else redis.call('DEL', key) end
end
return table.concat(answer, ' ')
