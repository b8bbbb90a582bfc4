--- `get` with the memo before it: a hit costs one look in a Lua table and one C call.
-- In Lua 5.4 that is a C function. LuaJIT cannot yield across C, so there it is a Lua function, with FFI where the JIT
-- compiler runs and a plain C call where it does not.
-- @module larder.memo
local M = {}

local next, rawequal, type = next, rawequal, type

local function copy_flat(t)
    local copy = {}
    for k, v in next, t do
        copy[k] = v
    end
    return copy
end

local function find_clone()
    local ok, clone = pcall(require, "table.clone")
    return ok and clone or copy_flat
end

-- A plan is { table without its tables, key, plan, key, plan, ... }.
local function make_unfold(clone)
    local function unfold(plan)
        local t = clone(plan[1])
        for i = 2, #plan, 2 do
            t[plan[i]] = unfold(plan[i + 1])
        end
        return t
    end
    return unfold
end

local function find_check(core, memo, address, pointer)
    local jit = rawget(_G, "jit")
    if jit and jit.status() then
        local ok, ffi = pcall(require, "larder.ffi")
        if ok then
            return ffi.checker(address, pointer)
        end
    end
    return core.memo_checker(memo)
end

local function get_shared(handle, slow, check, index, values)
    return function(self, key, opts, ...)
        local i = index[key]
        if i and rawequal(self, handle) and (opts == nil or type(opts) == "function") and check(i) then
            return values[i], nil, "l1"
        end
        return slow(self, key, opts, ...)
    end
end

local function get_copied(handle, slow, check, index, values, plans)
    local clone = find_clone()
    local unfold = make_unfold(clone)
    return function(self, key, opts, ...)
        local i = index[key]
        if i and rawequal(self, handle) and (opts == nil or type(opts) == "function") and check(i) then
            local value = values[i]
            if type(value) ~= "table" then
                return value, nil, "l1"
            end
            local plan = plans[i]
            if plan then
                return unfold(plan), nil, "l1"
            end
            return clone(value), nil, "l1"
        end
        return slow(self, key, opts, ...)
    end
end

--- The `get` of one cache handle.
-- @param core the C module: `memo_get memo_parts memo_checker`
-- @param handle what `self` must be; anything else is left to `slow`
-- @param memo the memo's userdata
-- @param slow function(self, key, opts, ...): called with the same arguments when the memo has no answer; may yield
-- @param direct nil, or { core, state, host, refused }: what a plain miss is then read with in C (memo_get.c); LuaJIT
-- needs none
-- @return function(self, key [, opts] [, loader, ...]) -> value, err, outcome
function M.get(core, handle, memo, slow, direct)
    local native = core.memo_get(handle, memo, slow, direct)
    if native then
        return native
    end
    local address, pointer, index, values, plans, shared = core.memo_parts(memo)
    local check = find_check(core, memo, address, pointer)
    values[0] = memo -- kept alive as long as `get` is
    if shared then
        return get_shared(handle, slow, check, index, values)
    end
    return get_copied(handle, slow, check, index, values, plans)
end

return M
