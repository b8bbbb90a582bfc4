-- hostile.lua - a hostile server: a real one behind the proxy, whose answer in one phase is replaced by bytes of the
-- list spec/core/hostile_replies.txt (its head says what a line is); afterwards it serves as it should.
--
--   for _, reply in ipairs(hostile.replies()) do        { verdict =, kind =, bytes =, line = }
--       hostile.play(p, "script", reply.bytes)          p: of proxy.start { to = server }
local hostile = {}

-- What is ordered of the proxy in each phase, in front of the bytes.
hostile.phases = {
    connect = "greet",                        -- before anything was asked
    handshake = "when SETNAME replace",       -- of a new connection
    auth = "when AUTH replace",               -- where the cache's address has a password
    look_up = "on data when TIME replace",    -- of a look-up or pulse, its first reply
    answer = "on data when GET replace",      -- of a look-up: `hostile.play(p, "answer", bytes, 2)` for GET's own reply
    script = "on data when EVALSHA replace",
    subscription = "when SUBSCRIBE replace",
    push = "on bell replace",                 -- in place of the next message (or the answer to a PING)
}

hostile.names = { "connect", "handshake", "look_up", "answer", "script", "subscription", "push" }

local escapes = { r = "\r", n = "\n", s = " ", ["\\"] = "\\" }

local function unescape(text)
    local out, at = {}, 1
    while at <= #text do
        local plain = text:match("^[^\\]+", at)
        local kind = text:sub(at + 1, at + 1)
        if plain then
            out[#out + 1], at = plain, at + #plain
        elseif kind == "{" then
            local from, to, inner = text:find("^(.-)}", at + 2)
            local words, n = inner:match "^(.*)%*(%d+)$"
            assert(from, "no } behind \\{")
            out[#out + 1], at = unescape(words):rep(tonumber(n)), to + 1
        elseif kind == "x" then
            out[#out + 1], at = string.char(tonumber(text:sub(at + 2, at + 3), 16)), at + 4
        else
            out[#out + 1], at = assert(escapes[kind], "no such escape"), at + 2
        end
    end
    return table.concat(out)
end

function hostile.replies()
    local list, n = {}, 0
    for line in io.lines "spec/core/hostile_replies.txt" do
        n = n + 1
        local verdict, kind, text = line:match "^([^#%s]%S*)%s+(%S+)%s*(.*)$"
        if verdict then
            list[#list + 1] = { verdict = verdict, kind = kind, bytes = unescape(text), line = n }
        end
    end
    return list
end

-- The bytes are played once, in that phase; p:count().fired tells when it was. An empty reply is silence: the answer is
-- lost and the connection stays open. k: which of the replies that come together.
function hostile.play(p, phase, bytes, k)
    local order = assert(hostile.phases[phase], "no such phase")
    if bytes == "" then
        p:command((order:gsub("replace", "blackhole"):gsub("greet", "blackhole")))
        return
    end
    local name = p.folder .. "/bytes"
    local file = assert(io.open(name, "wb"))
    file:write(bytes)
    file:close()
    p:command(("%s @%s %s"):format(order, name, k or ""))
end

return hostile
