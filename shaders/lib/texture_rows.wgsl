// Texels in a row of a texture that holds words: of 4 bytes, and of 16.
const ROW_OF_ONE: u32 = 8192u;
const ROW_OF_FOUR: u32 = 2048u;
