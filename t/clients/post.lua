-- Requests of wrk for clients.t: POST with a body, each answer looked at. The
-- body it has to have is an argument.

local threads = {}

function setup(thread)
    table.insert(threads, thread)
end

function init(args)
    wrk.method = "POST"
    wrk.body = string.rep("x", 20000)
    wrk.headers["Content-Type"] = "text/plain"
    expected = args[1]
    right = 0
    wrong = 0
end

function response(status, headers, body)
    if status == 200 and body == expected then
        right = right + 1
    else
        wrong = wrong + 1
    end
end

function done(summary, latency, requests)
    local right, wrong, errors = 0, 0, summary.errors

    for _, thread in ipairs(threads) do
        right = right + thread:get("right")
        wrong = wrong + thread:get("wrong")
    end

    print(string.format("right %d wrong %d errors %d", right, wrong,
        errors.connect + errors.read + errors.write + errors.status + errors.timeout))
end
