"""The scripts that the server runs, each whole or not at all."""

CHUNK = 64
"""Events of a history in one value."""

HISTORIES = f"""
-- A user's history is a hash: "head" holds events in all and the time of the newest write, field n the events from
-- {CHUNK} n on, each behind its length. Every command may come twice, as from a log that a killed server reads again:
-- it says what is then there, and adds nothing to what it finds.
local function total_of(history)
    local head = redis.call('HGET', history, 'head')
    return head and tonumber(string.match(head, '^%d+')) or 0
end
local function append(history, total, items, first, last, now)
    local chunk = math.floor(total / {CHUNK})
    local body = total % {CHUNK} ~= 0 and redis.call('HGET', history, string.format('%.0f', chunk)) or ''
    for place = first, last do
        body = body .. struct.pack('<I4', #items[place]) .. items[place]
        total = total + 1
        if total % {CHUNK} == 0 or place == last then
            redis.call('HSET', history, string.format('%.0f', chunk), body)
            chunk, body = chunk + 1, ''
        end
    end
    redis.call('HSET', history, 'head', string.format('%.0f %s', total, now))
    return total
end
"""

SWAP = (
    HISTORIES
    + f"""
-- KEYS: layouts, users of the layout, users with histories; then each user's record and history.
-- ARGV: layout, milliseconds to live or 0, events kept or -1, time; then of each user: the id, the version to replace,
-- the record, a number of items, the items.
if redis.call('HEXISTS', KEYS[1], ARGV[1]) == 0 then return redis.error_reply('DROPPED') end
local ttl, kept, now = tonumber(ARGV[2]), tonumber(ARGV[3]), ARGV[4]
local lost, at = {{}}, 5
for place = 0, (#KEYS - 3) / 2 - 1 do
    local record, history = KEYS[4 + 2 * place], KEYS[5 + 2 * place]
    local user, before, value, items = ARGV[at], ARGV[at + 1], ARGV[at + 2], tonumber(ARGV[at + 3])
    local held = redis.call('GETRANGE', record, 8, 23)
    local total = kept ~= 0 and total_of(history) or 0
    if held == string.sub(value, 9, 24) then
        -- This very write was done before; only its answer was lost.
    elseif held == '' and before ~= string.rep('\\0', 8) or held ~= '' and string.sub(held, 1, 8) ~= before then
        lost[#lost + 1] = place
    elseif kept ~= 0 and struct.unpack('<I8', value, 49) ~= total + items then
        lost[#lost + 1] = place
    else
        if held == '' then redis.call('ZADD', KEYS[2], 0, user) end
        if ttl > 0 then redis.call('SET', record, value, 'PX', ttl) else redis.call('SET', record, value) end
        if items > 0 and kept ~= 0 then
            if total == 0 then redis.call('ZADD', KEYS[3], 0, user) end
            total = append(history, total, ARGV, at + 4, at + 3 + items, now)
            local old = kept > 0 and math.floor((total - kept) / {CHUNK}) - 1 or -1
            while old >= 0 and redis.call('HDEL', history, string.format('%.0f', old)) == 1 do old = old - 1 end
            if ttl > 0 then redis.call('PEXPIRE', history, ttl) else redis.call('PERSIST', history) end
        end
    end
    at = at + 4 + items
end
return lost
"""
)

PAGE = """
-- The next users of an index in the order of their bytes, without those whose key (prefix, user) is gone.
local users = redis.call('ZRANGEBYLEX', KEYS[1], ARGV[1], '+', 'LIMIT', 0, ARGV[2])
local there, size = {}, 0
for _, user in ipairs(users) do
    local key = ARGV[3] .. user
    if redis.call('EXISTS', key) == 0 then redis.call('ZREM', KEYS[1], user) else
        there[#there + 1] = user
        if ARGV[4] == 'size' then size = size + redis.call('STRLEN', key) end
    end
end
return {users[#users] or false, size, there}
"""

FORGET = """
-- KEYS: layouts, users with histories. ARGV: prefix, users.
local layouts, found = redis.call('HKEYS', KEYS[1]), {}
for place = 2, #ARGV do
    local user = ARGV[place]
    local gone = redis.call('DEL', ARGV[1] .. 'history:' .. user)
    redis.call('ZREM', KEYS[2], user)
    for _, layout in ipairs(layouts) do
        gone = gone + redis.call('DEL', ARGV[1] .. 'record:' .. layout .. ':' .. user)
        redis.call('ZREM', ARGV[1] .. 'users:' .. layout, user)
    end
    found[place - 1] = gone
end
return found
"""

DROP = """
-- KEYS: layouts, metas, users of the layout. ARGV: layout, records' prefix, users at once.
local users, gone = redis.call('ZRANGE', KEYS[3], 0, ARGV[3] - 1), 0
for _, user in ipairs(users) do
    gone = gone + redis.call('DEL', ARGV[2] .. user)
    redis.call('ZREM', KEYS[3], user)
end
if #users < tonumber(ARGV[3]) then
    redis.call('HDEL', KEYS[1], ARGV[1])
    redis.call('HDEL', KEYS[2], ARGV[1])
    return {gone, 1}
end
return {gone, 0}
"""

EXPIRE = """
-- KEYS: index. ARGV: 'records' or 'histories', keys' prefix, the moment, users.
local before, gone = tonumber(ARGV[3]), 0
for place = 4, #ARGV do
    local key, written = ARGV[2] .. ARGV[place], nil
    if ARGV[1] == 'records' then
        local bytes = redis.call('GETRANGE', key, 24, 31)
        written = #bytes == 8 and struct.unpack('<d', bytes) or nil
    else
        local head = redis.call('HGET', key, 'head')
        written = head and tonumber(string.match(head, ' (.+)$')) or nil
    end
    if written and written < before then
        gone = gone + redis.call('DEL', key)
        redis.call('ZREM', KEYS[1], ARGV[place])
    end
end
return gone
"""

PUT_HISTORIES = (
    HISTORIES
    + """
-- KEYS: users with histories, then each user's history.
-- ARGV: milliseconds to live or 0; then of each user: the id, the events before the first item, the time, a number of
-- items, the items.
local ttl, at = tonumber(ARGV[1]), 2
for place = 2, #KEYS do
    local items = tonumber(ARGV[at + 3])
    redis.call('DEL', KEYS[place])
    append(KEYS[place], tonumber(ARGV[at + 1]), ARGV, at + 4, at + 3 + items, ARGV[at + 2])
    if ttl > 0 then redis.call('PEXPIRE', KEYS[place], ttl) end
    redis.call('ZADD', KEYS[1], 0, ARGV[at])
    at = at + 4 + items
end
"""
)
