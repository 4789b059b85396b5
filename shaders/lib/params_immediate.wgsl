// Run-time values, pushed with the commands.
var<immediate> params: Params;
