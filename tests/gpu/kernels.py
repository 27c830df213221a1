"""Small kernels as PTX text, which the driver compiles for the GPU that is there."""

ADD = b"""
.version 7.0
.target sm_75
.address_size 64

// y[n] = x[n] + number, for n < count
.visible .entry add_number(.param .u64 x, .param .u64 y, .param .u32 count, .param .f32 number)
{
    .reg .pred %p<2>;
    .reg .f32 %f<4>;
    .reg .b32 %r<6>;
    .reg .b64 %d<6>;
    ld.param.u64 %d1, [x];
    ld.param.u64 %d2, [y];
    ld.param.u32 %r1, [count];
    ld.param.f32 %f1, [number];
    mov.u32 %r2, %ctaid.x;
    mov.u32 %r3, %ntid.x;
    mov.u32 %r4, %tid.x;
    mad.lo.u32 %r5, %r2, %r3, %r4;
    setp.ge.u32 %p1, %r5, %r1;
    @%p1 bra done;
    mul.wide.u32 %d3, %r5, 4;
    add.u64 %d4, %d1, %d3;
    add.u64 %d5, %d2, %d3;
    ld.f32 %f2, [%d4];
    add.f32 %f3, %f2, %f1;
    st.f32 [%d5], %f3;
done:
    ret;
}

// Does nothing for so many nanoseconds.
.visible .entry rest(.param .u64 nanoseconds)
{
    .reg .pred %p<2>;
    .reg .b64 %d<4>;
    ld.param.u64 %d1, [nanoseconds];
    mov.u64 %d2, %globaltimer;
    add.u64 %d3, %d1, %d2;
again:
    mov.u64 %d2, %globaltimer;
    setp.lt.u64 %p1, %d2, %d3;
    @%p1 bra again;
    ret;
}
"""

SPOIL = b"""
.version 7.0
.target sm_75
.address_size 64

.visible .entry store_at(.param .u64 address)
{
    .reg .b32 %r<2>;
    .reg .b64 %d<2>;
    ld.param.u64 %d1, [address];
    mov.u32 %r1, 1;
    st.u32 [%d1], %r1;
    ret;
}

.visible .entry trapped()
{
    trap;
    ret;
}
"""
