-- nginx's Lua module with a shared dictionary that holds the answer.

local cjson = require "cjson"

local tokens = ngx.shared.tokens
local answer = tokens:get("answer")

if not answer then
    local reply = ngx.location.capture("/endpoint", { method = ngx.HTTP_POST })
    local token = cjson.decode(reply.body)

    answer = cjson.encode({
        access_token = token.access_token,
        refresh_token = token.refresh_token,
    })
    tokens:set("answer", answer, token.expires_in)
end

ngx.header["Content-Type"] = "application/json"
ngx.header["Cache-Control"] = "no-store"
ngx.header["Content-Length"] = #answer
ngx.print(answer)
