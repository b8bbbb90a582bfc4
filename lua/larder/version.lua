-- version.lua - the release this Lua part belongs to; the core says the same in LARDER_VERSION.
return "0.1.0"
