return { options = function() end, run = function() return 2 end }
