-- What wrk sends: BENCH is empty, event, batch or list; USERS and ITEMS are how many there are.
local kind, users = os.getenv("BENCH"), tonumber(os.getenv("USERS"))
local items, run, n, thread_id = {}, os.getenv("RUN"), 0, 0
for line in io.lines(os.getenv("ITEMS")) do items[#items + 1] = line end
local headers = {["Content-Type"] = "application/json"}

function setup(thread)
  thread:set("thread_id", thread_id)
  thread_id = thread_id + 1
end

function init() math.randomseed(tonumber(run) + 7919 * thread_id) end

local function event()
  n = n + 1
  local user, item = math.random(users), items[math.random(#items)]
  return string.format('{"user":"u%d","item":"%s","event_id":"%s-%d-%d"}', user, item, run, thread_id, n)
end

function request()
  if kind == "empty" then return wrk.format("GET", "/v2/health/live") end
  if kind == "list" then
    return wrk.format("GET", string.format("/v1/users/u%d/recommendations?k=10", math.random(users)))
  end
  if kind == "event" then return wrk.format("POST", "/v1/events", headers, event()) end
  local events = {}
  for place = 1, 256 do events[place] = event() end
  return wrk.format("POST", "/v1/events", headers, '{"events":[' .. table.concat(events, ",") .. "]}")
end

function done(summary, latency, requests)
  local errors = summary.errors
  local failed = errors.status + errors.connect + errors.read + errors.write + errors.timeout
  io.write(string.format('{"requests":%d,"microseconds":%d,"failed":%d,"p50":%d,"p95":%d,"p99":%d}\n',
    summary.requests, summary.duration, failed,
    latency:percentile(50), latency:percentile(95), latency:percentile(99)))
end
