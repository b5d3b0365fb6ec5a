-- Read accepted claims after a position, but only where the stamp is the epoch they were accepted in.
-- KEYS[1]  sluice:{bucket}:sale    hash    stamp
-- KEYS[2]  sluice:{bucket}:claims  stream  c -> facts,key
-- ARGV[1]  stamp     epoch.token
-- ARGV[2]  position  read what comes after it
-- ARGV[3]  how many at the most
-- RETURNS  position, record, position, record ...
-- ERRORS   EPOCH another stamp

if redis.call('HGET', KEYS[1], 'stamp') ~= ARGV[1] then
    return redis.error_reply('EPOCH this bucket bears another stamp')
end
local found = {}
for _, entry in ipairs(redis.call('XRANGE', KEYS[2], '(' .. ARGV[2], '+', 'COUNT', ARGV[3])) do
    found[#found + 1] = entry[1]
    found[#found + 1] = entry[2][2]
end
return found
