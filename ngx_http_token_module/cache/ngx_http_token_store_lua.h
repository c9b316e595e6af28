
/*
 * Copyright (C) ngx_http_token_module contributors
 *
 * The scripts that the store runs: the only text of them, which bench/fleet.sh
 * reads as well.  Each has three keys of one hash tag: the token (a hash: its
 * serial s, its sealed text b), the lease of the fetch that goes on (who has
 * it), and the last failure (sealed).
 */


#ifndef _NGX_HTTP_TOKEN_STORE_LUA_H_INCLUDED_
#define _NGX_HTTP_TOKEN_STORE_LUA_H_INCLUDED_


/*
 * id, lease in milliseconds, serial that the caller has or "": a token with
 * another serial, or whose fetch to wait for, or a failure, or the lease, with
 * a serial made of the store's clock; and that clock, in milliseconds.  With
 * a lease of 0 it only looks.
 */

#define NGX_HTTP_TOKEN_LUA_TAKE                                               \
    "local time = redis.call('TIME')\n"                                       \
    "local now = time[1] * 1000 + math.floor(time[2] / 1000)\n"               \
    "local t = redis.call('HMGET', KEYS[1], 's', 'b')\n"                      \
    "if t[1] and t[1] ~= ARGV[3] then\n"                                      \
    "  local left = redis.call('PTTL', KEYS[1])\n"                            \
    "  if left > 0 then return {'token', t[1], t[2], left, now} end\n"        \
    "end\n"                                                                   \
    "if ARGV[2] == '0' then return {'none'} end\n"                            \
    "local l = redis.call('GET', KEYS[2])\n"                                  \
    "if l and l ~= ARGV[1] then\n"                                            \
    "  return {'wait', redis.call('PTTL', KEYS[2])}\n"                        \
    "end\n"                                                                   \
    "local f = not l and redis.call('GET', KEYS[3])\n"                        \
    "if f then return {'fail', redis.call('PTTL', KEYS[3]), f, now} end\n"    \
    "redis.call('SET', KEYS[2], ARGV[1], 'PX', ARGV[2])\n"                    \
    "return {'fetch', string.format('%010d%06d', time[1], time[2]), now}\n"

/*
 * id, serial, text, expiry in milliseconds of the store's clock: stored if the
 * lease is the caller's, or no newer token is there.
 */

#define NGX_HTTP_TOKEN_LUA_PUT                                                \
    "local mine = redis.call('GET', KEYS[2]) == ARGV[1]\n"                    \
    "local s = redis.call('HGET', KEYS[1], 's')\n"                            \
    "if not mine and s and s >= ARGV[2] then return 0 end\n"                  \
    "redis.call('HSET', KEYS[1], 's', ARGV[2], 'b', ARGV[3])\n"               \
    "redis.call('PEXPIREAT', KEYS[1], ARGV[4])\n"                             \
    "redis.call('DEL', KEYS[3])\n"                                            \
    "if mine then redis.call('DEL', KEYS[2]) end\n"                           \
    "return 1\n"

/* id, backoff in milliseconds or 0, text: ends a lease that is the caller's */

#define NGX_HTTP_TOKEN_LUA_FAIL                                               \
    "if redis.call('GET', KEYS[2]) ~= ARGV[1] then return 0 end\n"            \
    "if ARGV[2] ~= '0' then\n"                                                \
    "  redis.call('SET', KEYS[3], ARGV[3], 'PX', ARGV[2])\n"                  \
    "end\n"                                                                   \
    "redis.call('DEL', KEYS[2])\n"                                            \
    "return 1\n"

/* serial: removes the token if it is still that one */

#define NGX_HTTP_TOKEN_LUA_DROP                                               \
    "if redis.call('HGET', KEYS[1], 's') ~= ARGV[1] then return 0 end\n"      \
    "redis.call('DEL', KEYS[1])\n"                                            \
    "return 1\n"


#endif /* _NGX_HTTP_TOKEN_STORE_LUA_H_INCLUDED_ */
