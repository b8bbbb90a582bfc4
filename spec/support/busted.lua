-- Runs busted under the Lua that runs this file: `busted` itself would take whichever Lua is "lua".
require "busted.runner" { standalone = false }
