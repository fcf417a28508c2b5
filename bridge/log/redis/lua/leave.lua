-- A process stops: it does not use the keys any more. Its sessions stay for as long as those of one
-- that is gone.
redis.call('HSET', MACHINES, ARGV[1], '-' .. text(now_ms()))
return 'ok'
