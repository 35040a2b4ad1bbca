/* Samples: one line an instruction, its bytes, what insn_text says, and its name. Each was checked
 * against the manuals by hand: SDM 2 chapters 3-6 and APM 3.
 */
#include "insn_samples.h"

/* clang-format off */
const struct insn_sample insn_samples[] = {
    /* moves */
    {"48 89 e5", "plain/8 read sp write bp"}, /* mov rbp, rsp */
    {"48 89 23", "plain/8 read sp mem bx w8"}, /* mov [rbx], rsp */
    {"48 8b 65 f8", "plain/8 write sp mem bp-0x8/1 r8"}, /* mov rsp, [rbp-0x08] */
    {"89 e0", "plain/4 read sp write ax"}, /* mov eax, esp */
    {"88 e0", "plain/1 read ax write ax"}, /* mov al, ah */
    {"40 88 e0", "plain/1 read ax,sp write ax"}, /* mov al, spl */
    {"66 89 c8", "plain/2 read ax,cx write ax"}, /* mov ax, cx */
    {"8a 0c 24", "plain/1 read cx write cx mem sp r1"}, /* mov cl, [rsp] */
    {"b8 78 56 34 12", "plain/4 write ax imm 4 0x12345678"}, /* mov eax, 0x12345678 */
    {"48 b8 88 77 66 55 44 33 22 11",
     "plain/8 write ax imm 8 0x1122334455667788"}, /* mov rax, 0x1122334455667788 */
    {"66 bb 34 12", "plain/2 read bx write bx imm 2 0x1234"}, /* mov bx, 0x1234 */
    {"b4 7f", "plain/1 read ax write ax imm 1 0x7f"}, /* mov ah, 0x7F */
    {"41 b4 7f", "plain/1 read r12 write r12 imm 1 0x7f"}, /* mov r12b, 0x7F */
    {"c6 45 ff 80", "plain/1 mem bp-0x1/1 w1 imm 1 -0x80"}, /* mov byte ptr [rbp-0x01], 0x80 */
    {"48 c7 04 25 00 f0 ff ff fe ff ff ff",
     "plain/8 mem -0x1000/4 w8 imm 4 -0x2"}, /* mov qword ptr [0xFFFFFFFFFFFFF000], 0xFFFFFFFFFFFFFFFE */
    {"66 c7 03 34 12", "plain/2 mem bx w2 imm 2 0x1234"}, /* mov word ptr [rbx], 0x1234 */
    {"67 8b 44 8b 10",
     "plain/4 write ax mem bx+cx*4+0x10/1 r4 a32"}, /* mov eax, [ebx+ecx*4+0x10] */
    {"65 48 8b 04 25 28 00 00 00",
     "plain/8 write ax mem gs:+0x28/4 r8"}, /* mov rax, gs:[0x00000028] */
    {"65 8b 05 11 22 33 44",
     "plain/4 write ax mem gs:ip+0x44332211/4 r4"}, /* mov eax, gs:[0x44332218] */
    {"64 8b 00", "plain/4 write ax mem fs:ax r4"}, /* mov eax, fs:[rax] */
    {"3e 65 8b 00", "plain/4 write ax mem gs:ax r4"}, /* mov eax, gs:[rax] */
    {"65 3e 8b 00", "plain/4 write ax mem gs:ax r4"}, /* mov eax, gs:[rax] */
    {"2e 8b 00", "plain/4 write ax mem cs:ax r4"}, /* mov eax, [rax] */
    {"8b 05 fc ff ff ff", "plain/4 write ax mem ip-0x4/4 r4"}, /* mov eax, [0x00000002] */
    {"67 8b 05 fc ff ff ff", "plain/4 write ax mem ip-0x4/4 r4 a32"}, /* mov eax, [0x00000003] */
    {"43 8b 04 cd 00 00 00 80",
     "plain/4 write ax mem +r9*8-0x80000000/4 r4"}, /* mov eax, [r9*8-0x80000000] */
    {"8b 04 65 04 00 00 00", "plain/4 write ax mem +0x4/4 r4"}, /* mov eax, [0x00000004] */
    {"42 8b 04 20", "plain/4 write ax mem ax+r12*1 r4"}, /* mov eax, [rax+r12*1] */
    {"48 a1 88 77 66 55 44 33 22 11",
     "plain/8 write ax mem 0x1122334455667788 r8"}, /* mov rax, [0x1122334455667788] */
    {"67 a2 00 00 00 80", "plain/1 read ax mem 0x80000000 w1 a32"}, /* mov [0x80000000], al */
    {"66 a3 00 00 00 00 00 00 00 f0",
     "plain/2 read ax mem 0xf000000000000000 w2"}, /* mov [0xF000000000000000], ax */
    {"48 63 c7", "plain/8 read di write ax"}, /* movsxd rax, edi */
    {"0f b6 c4", "plain/4 read ax write ax"}, /* movzx eax, ah */
    {"40 0f b6 c4", "plain/4 read sp write ax"}, /* movzx eax, spl */
    {"0f b7 46 02", "plain/4 write ax mem si+0x2/1 r2"}, /* movzx eax, word ptr [rsi+0x02] */
    {"66 0f be 07", "plain/2 read ax write ax mem di r1"}, /* movsx ax, byte ptr [rdi] */
    {"48 0f bf c1", "plain/8 read cx write ax"}, /* movsx rax, cx */
    {"48 8d 64 24 f0", "plain/8 write sp mem sp-0x10/1 -"}, /* lea rsp, [rsp-0x10] */
    {"8d 04 92", "plain/4 write ax mem dx+dx*4 -"}, /* lea eax, [rdx+rdx*4] */
    {"66 8d 07", "plain/2 read ax write ax mem di -"}, /* lea ax, [rdi] */
    {"48 0f c3 03", "plain/8 read ax mem bx w8"}, /* movnti [rbx], rax */
    {"0f 38 f0 07", "plain/4 write ax mem di r4"}, /* movbe eax, [rdi] */
    {"66 0f 38 f1 07", "plain/2 read ax mem di w2"}, /* movbe [rdi], ax */
    {"0f c8", "plain/4 read ax write ax"}, /* bswap eax */
    {"49 0f cc", "plain/8 read r12 write r12"}, /* bswap r12 */
    {"48 0f 44 e1", "plain/8 read cx,sp write sp"}, /* cmovz rsp, rcx */
    {"66 0f 4f 03", "plain/2 read ax write ax mem bx r2"}, /* cmovnle ax, [rbx] */
    {"0f 94 c4", "plain/1 read ax write ax"}, /* setz ah */
    {"41 0f 95 45 00", "plain/1 mem r13+0/1 w1"}, /* setnz [r13] */

    /* stack */
    {"50", "plain/8 read ax stack"}, /* push rax */
    {"54", "plain/8 read sp stack"}, /* push rsp */
    {"41 54", "plain/8 read r12 stack"}, /* push r12 */
    {"66 50", "plain/2 read ax stack"}, /* push ax */
    {"5c", "plain/8 write sp stack"}, /* pop rsp */
    {"41 5d", "plain/8 write r13 stack"}, /* pop r13 */
    {"8f 00", "plain/8 mem ax w8 stack"}, /* pop [rax] */
    {"8f 44 24 08", "plain/8 mem sp+0x8/1 w8 stack"}, /* pop [rsp+0x08] */
    {"8f c0", "plain/8 write ax stack"}, /* pop rax */
    {"ff 34 24", "plain/8 mem sp r8 stack"}, /* push [rsp] */
    {"ff 74 24 08", "plain/8 mem sp+0x8/1 r8 stack"}, /* push [rsp+0x08] */
    {"ff f4", "plain/8 read sp stack"}, /* push rsp */
    {"66 ff 30", "plain/2 mem ax r2 stack"}, /* push [rax] */
    {"68 78 56 34 80", "plain/8 imm 4 -0x7fcba988 stack"}, /* push 0xFFFFFFFF80345678 */
    {"66 68 34 12", "plain/2 imm 2 0x1234 stack"}, /* push 0x1234 */
    {"6a ff", "plain/8 imm 1 -0x1 stack"}, /* push 0xFFFFFFFFFFFFFFFF */
    {"c9", "plain/8 read bp write bp stack"}, /* leave */
    {"c8 10 80 1f", "plain/8 read bp write bp imm 2 0x8010,0x1f stack"}, /* enter 0x8010, 0x1F */
    {"9c", "pushf/8 stack"}, /* pushfq */
    {"9d", "popf/8 stack"}, /* popfq */
    {"66 9c", "pushf/2 stack"}, /* pushf */
    {"0f a0", "push_seg/8 reg 4 stack"}, /* push fs */
    {"0f a9", "pop_seg/8 reg 5 stack"}, /* pop gs */

    /* arithmetic */
    {"48 01 e0", "plain/8 read ax,sp write ax"}, /* add rax, rsp */
    {"48 83 ec 18", "plain/8 read sp write sp imm 1 0x18"}, /* sub rsp, 0x18 */
    {"48 83 e4 f0", "plain/8 read sp write sp imm 1 -0x10"}, /* and rsp, 0xFFFFFFFFFFFFFFF0 */
    {"81 c4 00 f0 ff ff", "plain/4 read sp write sp imm 4 -0x1000"}, /* add esp, 0xFFFFF000 */
    {"48 81 fc 00 10 00 00", "plain/8 read sp imm 4 0x1000"}, /* cmp rsp, 0x1000 */
    {"83 3b 00", "plain/4 mem bx r4 imm 1 0"}, /* cmp dword ptr [rbx], 0x00 */
    {"f0 48 01 03", "plain/8 read ax mem bx rw8 lock"}, /* lock add [rbx], rax */
    {"f0 83 44 24 fc 00",
     "plain/4 mem sp-0x4/1 rw4 imm 1 0 lock"}, /* lock add dword ptr [rsp-0x04], 0x00 */
    {"48 39 65 00", "plain/8 read sp mem bp+0/1 r8"}, /* cmp [rbp], rsp */
    {"48 85 e4", "plain/8 read sp"}, /* test rsp, rsp */
    {"84 c9", "plain/1 read cx"}, /* test cl, cl */
    {"a8 80", "plain/1 read ax imm 1 -0x80"}, /* test al, 0x80 */
    {"48 3d 00 00 00 80", "plain/8 read ax imm 4 -0x80000000"}, /* cmp rax, 0xFFFFFFFF80000000 */
    {"66 05 34 12", "plain/2 read ax write ax imm 2 0x1234"}, /* add ax, 0x1234 */
    {"34 ff", "plain/1 read ax write ax imm 1 -0x1"}, /* xor al, 0xFF */
    {"fe c4", "plain/1 read ax write ax"}, /* inc ah */
    {"ff 03", "plain/4 mem bx rw4"}, /* inc [rbx] */
    {"f0 ff 0b", "plain/4 mem bx rw4 lock"}, /* lock dec [rbx] */
    {"f6 d8", "plain/1 read ax write ax"}, /* neg al */
    {"f7 17", "plain/4 mem di rw4"}, /* not [rdi] */
    {"f7 c4 00 00 01 00", "plain/4 read sp imm 4 0x10000"}, /* test esp, 0x10000 */
    {"f6 05 01 02 03 04 80",
     "plain/1 mem ip+0x4030201/4 r1 imm 1 -0x80"}, /* test byte ptr [0x04030208], 0x80 */
    {"f7 e1", "plain/4 read ax,cx write ax,dx"}, /* mul ecx */
    {"66 f7 e1", "plain/2 read ax,cx,dx write ax,dx"}, /* mul cx */
    {"f6 e4", "plain/1 read ax write ax"}, /* mul ah */
    {"48 f7 2b", "plain/8 read ax write ax,dx mem bx r8"}, /* imul [rbx] */
    {"48 f7 f6", "plain/8 read ax,dx,si write ax,dx"}, /* div rsi */
    {"f6 f3", "plain/1 read ax,bx write ax"}, /* div bl */
    {"48 0f af c4", "plain/8 read ax,sp write ax"}, /* imul rax, rsp */
    {"6b c4 0a", "plain/4 read sp write ax imm 1 0xa"}, /* imul eax, esp, 0x0A */
    {"69 0b 00 01 00 00", "plain/4 write cx mem bx r4 imm 4 0x100"}, /* imul ecx, [rbx], 0x100 */
    {"98", "plain/4 read ax write ax"}, /* cwde */
    {"66 98", "plain/2 read ax write ax"}, /* cbw */
    {"48 99", "plain/8 read ax write dx"}, /* cqo */
    {"66 99", "plain/2 read ax,dx write dx"}, /* cwd */
    {"d3 e0", "plain/4 read ax,cx write ax"}, /* shl eax, cl */
    {"c0 65 00 03", "plain/1 mem bp+0/1 rw1 imm 1 0x3"}, /* shl byte ptr [rbp], 0x03 */
    {"48 d1 f8", "plain/8 read ax write ax"}, /* sar rax, 0x01 */
    {"48 0f a4 d0 05", "plain/8 read ax,dx write ax imm 1 0x5"}, /* shld rax, rdx, 0x05 */
    {"0f ad 03", "plain/4 read ax,cx mem bx rw4"}, /* shrd [rbx], eax, cl */
    {"48 0f a3 23", "plain/8 read sp mem bx r8"}, /* bt [rbx], rsp */
    {"0f ab 03", "plain/4 read ax mem bx rw4"}, /* bts [rbx], eax */
    {"48 0f ba 23 3f", "plain/8 mem bx r8 imm 1 0x3f"}, /* bt qword ptr [rbx], 0x3F */
    {"f0 0f ba 33 07", "plain/4 mem bx rw4 imm 1 0x7 lock"}, /* lock btr dword ptr [rbx], 0x07 */
    {"0f bc c1", "plain/4 read ax,cx write ax"}, /* bsf eax, ecx */
    {"f3 48 0f b8 c4", "plain/8 read sp write ax rep"}, /* popcnt rax, rsp */
    {"f3 0f bd c1", "plain/4 read ax,cx write ax rep"}, /* lzcnt eax, ecx */
    {"48 87 e0", "plain/8 read ax,sp write ax,sp"}, /* xchg rax, rsp */
    {"87 03", "plain/4 read ax write ax mem bx rw4"}, /* xchg [rbx], eax */
    {"90", "nop"}, /* nop */
    {"41 90", "plain/4 read ax,r8 write ax,r8"}, /* xchg r8d, eax */
    {"f3 90", "plain rep"}, /* pause */
    {"66 90", "nop"}, /* nop */
    {"48 94", "plain/8 read ax,sp write ax,sp"}, /* xchg rsp, rax */
    {"48 0f c1 e0", "plain/8 read ax,sp write ax,sp"}, /* xadd rax, rsp */
    {"f0 48 0f b1 0b", "plain/8 read ax,cx write ax mem bx rw8 lock"}, /* lock cmpxchg [rbx], rcx */
    {"0f b0 23", "plain/1 read ax write ax mem bx rw1"}, /* cmpxchg [rbx], ah */
    {"48 0f c7 0e", "plain/8 read ax,cx,dx,bx write ax,dx mem si rw16"}, /* cmpxchg16b [rsi] */
    {"f0 0f c7 0e",
     "plain/4 read ax,cx,dx,bx write ax,dx mem si rw8 lock"}, /* lock cmpxchg8b [rsi] */
    {"0f c7 f0", "plain/4 write ax"}, /* rdrand eax */
    {"66 0f c7 f8", "plain/2 read ax write ax"}, /* rdseed ax */
    {"f2 0f 38 f0 c4", "plain/4 read ax write ax repne"}, /* crc32 eax, ah */
    {"f2 48 0f 38 f1 03", "plain/8 read ax write ax mem bx r8 repne"}, /* crc32 rax, [rbx] */
    {"66 0f 38 f6 c3", "plain/4 read ax,bx write ax"}, /* adcx eax, ebx */
    {"f3 48 0f 38 f6 c3", "plain/8 read ax,bx write ax rep"}, /* adox rax, rbx */
    {"9e", "plain/1 read ax"}, /* sahf */
    {"9f", "plain/1 read ax write ax"}, /* lahf */
    {"d7", "plain/1 read ax,bx write ax hidden"}, /* xlat */
    {"f5", "plain"}, /* cmc */
    {"fd", "plain"}, /* std */
    {"0f 18 0b", "plain mem bx -"}, /* prefetcht0 [rbx] */
    {"0f 0d 0b", "plain mem bx -"}, /* prefetchw [rbx] */
    {"0f ae e8", "plain"}, /* lfence */
    {"0f ae f0", "plain"}, /* mfence */
    {"0f ae f8", "plain"}, /* sfence */
    {"0f 38 f9 03", "plain/4 read ax mem bx w4"}, /* movdiri [rbx], eax */
    {"66 0f 38 f8 03", "plain/8 read ax mem bx r64 hidden"}, /* movdir64b rax, zmmword ptr [rbx] */
    {"0f 01 fc", "plain read ax hidden"}, /* clzero rax */
    {"f3 48 0f ae e0", "plain/8 read ax rep"}, /* ptwrite rax */
    {"66 0f ae f1", "plain/4 read ax,cx,dx"}, /* tpause ecx */
    {"f2 0f ae f1", "plain/4 read ax,cx,dx repne"}, /* umwait ecx */
    {"f3 0f ae f4", "plain/8 read sp hidden rep"}, /* umonitor rsp */
    {"c4 e2 f8 f2 c4", "plain/8 read ax,sp write ax"}, /* andn rax, rax, rsp */
    {"c4 e2 d8 f3 db", "plain/8 read bx write sp"}, /* blsi rsp, rbx */
    {"c4 e2 fb f6 c4", "plain/8 read dx,sp write ax"}, /* mulx rax, rax, rsp */
    {"c4 e2 d9 f7 03", "plain/8 read sp write ax mem bx r8"}, /* shlx rax, [rbx], rsp */
    {"c4 e3 fb f0 e1 05", "plain/8 read cx write sp imm 1 0x5"}, /* rorx rsp, rcx, 0x05 */
    {"c4 e2 79 e0 03", "plain/4 read ax write ax mem bx rw4"},
    {"8f e9 78 01 cb", "plain/4 read bx write ax"}, /* blcfill eax, ebx */
    {"8f ea 78 10 c3 01 02 03 04",
     "plain/4 read bx write ax imm 4 0x4030201"}, /* bextr eax, ebx, 0x4030201 */

    /* nops */
    {"0f 1f 44 00 00", "nop/4 mem ax+ax*1+0/1 -"}, /* nop [rax+rax*1], eax */
    {"66 2e 0f 1f 84 00 00 00 00 00", "nop/2 mem cs:ax+ax*1+0/4 -"}, /* nop [rax+rax*1], ax */
    {"0f 1f c0", "nop/4"}, /* nop eax, eax */
    {"f3 0f 1e fa", "nop/4 rep"}, /* endbr64 */
    {"f3 48 0f 1e cc", "nop/8 rep"}, /* rdsspq rsp */
    {"0f 18 20", "nop/4 mem ax -"}, /* nop [rax] */
    {"0f 0d c0", "nop/4"}, /* nop eax, eax */
    {"0f 1a 03", "nop/4 mem bx -"}, /* bndldx bnd0, [rbx] */

    /* undefined */
    {"0f 0b", "ud"}, /* ud2 */
    {"0f b9 45 00", "ud mem bp+0/1 -"}, /* ud1 eax, [rbp] */
    {"0f ff c0", "ud"}, /* ud0 eax, eax */
    {"06", "ud"},
    {"0f 04", "ud"},
    {"f0 90", "ud lock"},
    {"f0 01 c0", "ud/4 lock"},
    {"48 c4 e1 78 58", "ud"},
    {"0f 20 c8", "ud/8"},
    {"44 0f 21 c0", "ud/8"},
    {"8e c8", "ud/2"},
    {"8c f8", "ud/4"},
    {"c7 f8 00 00 00 00", "ud/4 imm 4 0"}, /* xbegin 0x00000006 */
    {"c6 f8 00", "ud imm 1 0"}, /* xabort 0x00 */
    {"0f 01 d5", "ud"}, /* xend */
    {"0f 01 fd", "ud"}, /* rdpru */
    {"0f 38 f6 03", "ud mem bx -"}, /* wrssd [rbx], eax */
    {"f3 0f 01 e8", "ud rep"}, /* setssbsy */
    {"0f c7 c8", "ud"},
    {"48 c5 f8 58", "ud"},
    {"62 f1 7c 98 58 03", "ud mem bx -"},
    {"c4 e2 69 90 0c 0a", "ud mem dx+v1*1 -"},

    /* FPU */
    {"d9 45 00", "fpu mem bp+0/1 r4"}, /* fld [rbp] */
    {"df e0", "fpu/2 read ax write ax"}, /* fnstsw ax */
    {"9b", "fpu"}, /* fwait */
    {"db e3", "fpu"}, /* fninit */
    {"dd 34 24", "fpu/4 mem sp w108"}, /* fnsave [rsp] */
    {"66 d9 30", "fpu/2 mem ax w14"}, /* fnstenv [rax] */
    {"0f 77", "fpu"}, /* emms */
    {"0f 6f 03", "fpu mem bx r8"}, /* movq mm0, [rbx] */
    {"66 48 0f 6e c4", "fpu/8 read sp"}, /* movq xmm0, rsp */
    {"66 48 0f 7e e4", "fpu/8 write sp"}, /* movq rsp, xmm4 */
    {"66 0f 7e 24 24", "fpu/4 mem sp w4"}, /* movd [rsp], xmm4 */
    {"0f 10 44 24 10", "fpu mem sp+0x10/1 r16"}, /* movups xmm0, [rsp+0x10] */
    {"66 0f e7 03", "fpu mem bx w16"}, /* movntdq [rbx], xmm0 */
    {"0f f7 c1", "fpu read di hidden"}, /* maskmovq mm0, mm1 */
    {"66 0f 50 c1", "fpu/4 write ax"}, /* movmskpd eax, xmm1 */
    {"f2 48 0f 2c e1", "fpu/8 write sp repne"}, /* cvttsd2si rsp, xmm1 */
    {"f3 0f 2a c4", "fpu/4 read sp rep"}, /* cvtsi2ss xmm0, esp */
    {"f3 0f 10 03", "fpu mem bx r4 rep"}, /* movss xmm0, dword ptr [rbx] */
    {"0f ae 17", "fpu mem di r4"}, /* ldmxcsr [rdi] */
    {"0f ae 1f", "fpu mem di w4"}, /* stmxcsr [rdi] */
    {"66 0f 38 17 c1", "fpu"}, /* ptest xmm0, xmm1 */
    {"66 0f 3a 14 c4 01", "fpu/4 write sp imm 1 0x1"}, /* pextrb esp, xmm0, 0x01 */
    {"66 0f 3a 22 03 01", "fpu/4 mem bx r4 imm 1 0x1"}, /* pinsrd xmm0, dword ptr [rbx], 0x01 */
    {"66 0f 3a 61 03 0c",
     "fpu/4 read ax,dx write cx mem bx r16 imm 1 0xc"}, /* pcmpestri xmm0, [rbx], 0x0C */
    {"0f 0f 03 9e", "fpu mem bx r8 imm 1 0x9e"}, /* pfadd mm0, [rbx] */
    {"66 0f 78 c1 04 08", "fpu imm 1 0x4,0x8"}, /* extrq xmm1, 0x04, 0x08 */
    {"c5 f8 77", "fpu"}, /* vzeroupper */
    {"c5 fc 10 03", "fpu mem bx r32"}, /* vmovups ymm0, [rbx] */
    {"c4 e2 7d 18 03", "fpu mem bx r4"}, /* vbroadcastss ymm0, dword ptr [rbx] */
    {"c4 e2 69 90 04 0b", "fpu mem bx+v1*1 r?"}, /* vpgatherdd xmm0, dword ptr [rbx+xmm1*1], xmm2 */
    {"c4 e2 7d 2c 03", "fpu mem bx r?"}, /* vmaskmovps ymm0, ymm0, [rbx] */
    {"c5 f8 91 03", "fpu mem bx w2"}, /* kmovw word ptr [rbx], k0 */
    {"c5 fb 92 c4", "fpu/4 read sp"}, /* kmovd k0, esp */
    {"62 f1 7c 48 58 43 01", "fpu mem bx+0x40/1 r64"}, /* vaddps zmm0, zmm0, [rbx+0x40] */
    {"62 f1 7c 58 58 43 01", "fpu mem bx+0x4/1 r4"}, /* vaddps zmm0, zmm0, [rbx+0x04] {1to16} */
    {"62 f1 fd 49 6f 43 ff",
     "fpu mem bx-0x40/1 r?"}, /* vmovdqa64 zmm0 {k1}, zmmword ptr [rbx-0x40] */
    {"62 f2 7d 49 90 44 d3 02",
     "fpu mem bx+v2*8+0x8/1 r?"}, /* vpgatherdd zmm0 {k1}, dword ptr [rbx+zmm2*8+0x08] */
    {"62 f2 7d 48 8b 43 01", "fpu mem bx+0x4/1 w64"}, /* vpcompressd zmmword ptr [rbx+0x04], zmm0 */
    {"62 e1 7c 48 10 c7", "fpu"}, /* vmovups zmm16, zmm7 */
    {"62 b1 7c 48 10 c7", "fpu"}, /* vmovups zmm0, zmm23 */
    {"62 f1 7e 08 2d e1", "fpu/4 write sp"}, /* vcvtss2si esp, xmm1 */
    {"62 f5 7e 08 10 43 01", "fpu mem bx+0x2/1 r2"}, /* vmovsh xmm0, word ptr [rbx+0x02] */
    {"c4 e2 7b 4b 04 0b", "fpu mem bx+cx*1 r?"}, /* tileloadd tmm0, [rbx+rcx*1] */
    {"c4 e2 78 49 03", "fpu mem bx r64"}, /* ldtilecfg [rbx] */
    {"8f e8 78 c0 c1 03", "fpu imm 1 0x3"}, /* vprotb xmm0, xmm1, 0x03 */

    /* control */
    {"74 fe", "jcc/8 imm 1 -0x2"}, /* jz 0x00000000 */
    {"0f 84 fa ff ff ff", "jcc/8 imm 4 -0x6"}, /* jz 0x00000000 */
    {"f2 75 10", "jcc/8 imm 1 0x10 repne"}, /* bnd jnz 0x00000013 */
    {"e2 fe", "loop/8 read cx write cx imm 1 -0x2"}, /* loop 0x00000000 */
    {"67 e3 02", "loop/8 read cx imm 1 0x2 a32"}, /* jecxz 0x00000005 */
    {"e8 78 56 34 12", "call_rel/8 imm 4 0x12345678 stack"}, /* call 0x1234567D */
    {"e9 fb ff ff ff", "jmp_rel/8 imm 4 -0x5"}, /* jmp 0x00000000 */
    {"eb 00", "jmp_rel/8 imm 1 0"}, /* jmp 0x00000002 */
    {"66 e9 00 00 00 00", "jmp_rel/8 imm 4 0"}, /* jmp 0x00000006 */
    {"ff d4", "call_ind/8 read sp stack"}, /* call rsp */
    {"ff 14 c5 00 00 00 81",
     "call_ind/8 mem +ax*8-0x7f000000/4 r8 stack"}, /* call [rax*8-0x7F000000] */
    {"41 ff e3", "jmp_ind/8 read r11"}, /* jmp r11 */
    {"3e ff e0", "jmp_ind/8 read ax"}, /* notrack jmp rax */
    {"ff 64 24 08", "jmp_ind/8 mem sp+0x8/1 r8"}, /* jmp [rsp+0x08] */
    {"ff 2b", "jmp_far/4 mem bx r6"}, /* jmp far [rbx] */
    {"48 ff 2b", "jmp_far/8 mem bx r10"}, /* jmp far [rbx] */
    {"66 ff 1b", "call_far/2 mem bx r4 stack"}, /* call far [rbx] */
    {"c3", "ret/8 stack"}, /* ret */
    {"f3 c3", "ret/8 stack rep"}, /* ret */
    {"c2 08 80", "ret/8 imm 2 0x8008 stack"}, /* ret 0x8008 */
    {"cb", "retf/4 stack"}, /* ret far */
    {"48 cb", "retf/8 stack"}, /* ret far */
    {"ca 08 00", "retf/4 imm 2 0x8 stack"}, /* ret far 0x08 */
    {"cf", "iret/4 stack"}, /* iretd */
    {"48 cf", "iret/8 stack"}, /* iretq */
    {"cc", "int3 stack"}, /* int3 */
    {"f1", "int1 stack"}, /* int1 */
    {"cd 80", "intn imm 1 0x80 stack"}, /* int 0x80 */
    {"0f 05", "syscall write cx,r11"}, /* syscall */
    {"48 0f 07", "sysret/8 read cx,r11"}, /* sysret */
    {"0f 34", "sysenter write sp"}, /* sysenter */
    {"48 0f 35", "sysexit/8 read cx,dx write sp"}, /* sysexit */

    /* strings */
    {"a4", "movs/1 read si,di write si,di"}, /* movsb */
    {"f3 48 a5", "movs/8 read cx,si,di write cx,si,di rep"}, /* rep movsq */
    {"f2 a6", "cmps/1 read cx,si,di write cx,si,di repne"}, /* repne cmpsb */
    {"67 66 a7", "cmps/2 read si,di write si,di a32"}, /* cmpsw */
    {"f3 aa", "stos/1 read ax,cx,di write cx,di rep"}, /* rep stosb */
    {"65 ac", "lods/1 read ax,si write ax,si"}, /* lodsb */
    {"f3 48 ad", "lods/8 read ax,cx,si write ax,cx,si rep"}, /* rep lodsq */
    {"66 ad", "lods/2 read ax,si write ax,si"}, /* lodsw */
    {"ae", "scas/1 read ax,di write di"}, /* scasb */
    {"f2 66 af", "scas/2 read ax,cx,di write cx,di repne"}, /* repne scasw */
    {"6c", "ins/1 read dx,di write di"}, /* insb */
    {"f3 66 6d", "ins/2 read cx,dx,di write cx,di rep"}, /* rep insw */
    {"f3 6e", "outs/1 read cx,dx,si write cx,si rep"}, /* rep outsb */
    {"48 6f", "outs/4 read dx,si write si"}, /* outsd */

    /* ports */
    {"e4 71", "in/1 read ax write ax imm 1 0x71"}, /* in al, 0x71 */
    {"66 e5 f0", "in/2 read ax write ax imm 1 0xf0"}, /* in ax, 0xF0 */
    {"ec", "in/1 read ax,dx write ax"}, /* in al, dx */
    {"66 ed", "in/2 read ax,dx write ax"}, /* in ax, dx */
    {"48 ed", "in/4 read dx write ax"}, /* in eax, dx */
    {"e6 80", "out/1 read ax imm 1 0x80"}, /* out 0x80, al */
    {"ee", "out/1 read ax,dx"}, /* out dx, al */
    {"ef", "out/4 read ax,dx"}, /* out dx, eax */

    /* flags and interrupts */
    {"fa", "cli"}, /* cli */
    {"fb", "sti"}, /* sti */
    {"f4", "hlt"}, /* hlt */
    {"0f 01 ca", "clac"}, /* clac */
    {"0f 01 cb", "stac"}, /* stac */

    /* system state */
    {"0f 20 c4", "mov_from_cr/8 write sp reg 0"}, /* mov rsp, cr0 */
    {"44 0f 20 c0", "mov_from_cr/8 write ax reg 8"}, /* mov rax, cr8 */
    {"0f 20 5c", "mov_from_cr/8 write sp reg 3"}, /* mov rsp, cr3 */
    {"0f 22 dc", "mov_to_cr/8 read sp reg 3"}, /* mov cr3, rsp */
    {"41 0f 22 e0", "mov_to_cr/8 read r8 reg 4"}, /* mov cr4, r8 */
    {"0f 21 f8", "mov_from_dr/8 write ax reg 7"}, /* mov rax, dr7 */
    {"0f 23 e4", "mov_to_dr/8 read sp reg 4"}, /* mov dr4, rsp */
    {"0f 06", "clts"}, /* clts */
    {"0f 01 f4", "lmsw/2 read sp"}, /* lmsw sp */
    {"0f 01 33", "lmsw/2 mem bx r2"}, /* lmsw [rbx] */
    {"0f 01 e0", "smsw/4 write ax"}, /* smsw eax */
    {"66 0f 01 e4", "smsw/2 read sp write sp"}, /* smsw sp */
    {"0f 01 23", "smsw/4 mem bx w2"}, /* smsw [rbx] */
    {"0f 01 14 24", "lgdt/8 mem sp r10"}, /* lgdt [rsp] */
    {"0f 01 1d 00 00 00 00", "lidt/8 mem ip+0/4 r10"}, /* lidt [0x00000007] */
    {"0f 01 03", "sgdt/8 mem bx w10"}, /* sgdt [rbx] */
    {"48 0f 01 0b", "sidt/8 mem bx w10"}, /* sidt [rbx] */
    {"0f 00 d4", "lldt/2 read sp"}, /* lldt sp */
    {"0f 00 1b", "ltr/2 mem bx r2"}, /* ltr [rbx] */
    {"0f 00 c4", "sldt/4 write sp"}, /* sldt esp */
    {"66 0f 00 c8", "str/2 read ax write ax"}, /* str ax */
    {"0f 00 0b", "str/4 mem bx w2"}, /* str [rbx] */
    {"0f 02 c4", "lar/4 read ax,sp write ax"}, /* lar eax, esp */
    {"66 0f 03 03", "lsl/2 read ax write ax mem bx r2"}, /* lsl ax, [rbx] */
    {"0f 00 e0", "verr/2 read ax"}, /* verr ax */
    {"0f 00 2b", "verw/2 mem bx r2"}, /* verw [rbx] */
    {"8c d8", "mov_from_seg/4 write ax reg 3"}, /* mov eax, ds */
    {"66 8c d8", "mov_from_seg/2 read ax write ax reg 3"}, /* mov ax, ds */
    {"48 8c e4", "mov_from_seg/8 write sp reg 4"}, /* mov rsp, fs */
    {"8c 23", "mov_from_seg/4 mem bx w2 reg 4"}, /* mov [rbx], fs */
    {"8e d0", "mov_to_seg/2 read ax reg 2"}, /* mov ss, ax */
    {"44 8e d8", "mov_to_seg/2 read ax reg 3"}, /* mov ds, ax */
    {"8e 2b", "mov_to_seg/2 mem bx r2 reg 5"}, /* mov gs, [rbx] */
    {"0f b2 23", "load_far_ptr/4 write sp mem bx r6"}, /* lss esp, fword ptr [rbx] */
    {"48 0f b5 03", "load_far_ptr/8 write ax mem bx r10"}, /* lgs rax, tbyte ptr [rbx] */
    {"0f 01 f8", "swapgs"}, /* swapgs */
    {"f3 48 0f ae c4", "rdfsbase/8 write sp rep"}, /* rdfsbase rsp */
    {"f3 0f ae c9", "rdgsbase/4 write cx rep"}, /* rdgsbase ecx */
    {"f3 48 0f ae d4", "wrfsbase/8 read sp rep"}, /* wrfsbase rsp */
    {"f3 0f ae d9", "wrgsbase/4 read cx rep"}, /* wrgsbase ecx */
    {"0f 01 3b", "invlpg mem bx -"}, /* invlpg [rbx] */
    {"66 0f 38 82 23", "invpcid/8 read sp mem bx r16"}, /* invpcid rsp, xmmword ptr [rbx] */
    {"0f 08", "invd"}, /* invd */
    {"0f 09", "wbinvd"}, /* wbinvd */
    {"f3 0f 09", "wbinvd rep"}, /* wbinvd */
    {"0f a2", "cpuid read ax,cx write ax,cx,dx,bx"}, /* cpuid */
    {"0f 31", "rdtsc write ax,dx"}, /* rdtsc */
    {"0f 01 f9", "rdtscp write ax,cx,dx"}, /* rdtscp */
    {"0f 33", "rdpmc read cx write ax,dx"}, /* rdpmc */
    {"f3 0f c7 fc", "rdpid/8 write sp rep"}, /* rdpid rsp */
    {"0f 32", "rdmsr read cx write ax,dx"}, /* rdmsr */
    {"0f 30", "wrmsr read ax,cx,dx"}, /* wrmsr */
    {"0f 01 d0", "xgetbv read cx write ax,dx"}, /* xgetbv */
    {"0f 01 d1", "xsetbv read ax,cx,dx"}, /* xsetbv */
    {"48 0f ae 23", "xsave/8 read ax,dx mem bx rw?"}, /* xsave64 [rbx] */
    {"48 0f ae 33", "xsave/8 read ax,dx mem bx rw?"}, /* xsaveopt64 [rbx] */
    {"48 0f c7 23", "xsave/8 read ax,dx mem bx w?"}, /* xsavec64 [rbx] */
    {"48 0f c7 2b", "xsave/8 read ax,dx mem bx w?"}, /* xsaves64 [rbx] */
    {"48 0f ae 03", "xsave/8 mem bx w512"}, /* fxsave64 [rbx] */
    {"48 0f ae 2b", "xrstor/8 read ax,dx mem bx r?"}, /* xrstor64 [rbx] */
    {"48 0f c7 1b", "xrstor/8 read ax,dx mem bx r?"}, /* xrstors64 [rbx] */
    {"0f ae 0b", "xrstor/4 mem bx r512"}, /* fxrstor [rbx] */
    {"0f 01 c8", "monitor read ax,cx,dx"}, /* monitor */
    {"0f 01 c9", "mwait read ax,cx"}, /* mwait */
    {"0f 01 fb", "mwait read ax,cx,bx"}, /* mwaitx */
    {"0f 01 ee", "rdpkru read cx write ax,dx"}, /* rdpkru */
    {"0f 01 ef", "wrpkru read ax,cx,dx"}, /* wrpkru */
    {"0f 01 e8", "serialize"}, /* serialize */
    {"0f 01 c1", "vmcall"}, /* vmcall */
    {"0f 01 d9", "vmcall"}, /* vmmcall */
    {"0f 01 c2", "vmx"}, /* vmlaunch */
    {"f3 0f 01 d9", "vmx rep"}, /* vmmcall */
    {"0f 01 cf", "vmx"}, /* encls */
    {"0f 37", "vmx"}, /* getsec */
    {"66 0f 38 80 03", "vmx/8 read ax mem bx r16"}, /* invept rax, xmmword ptr [rbx] */
    {"0f 78 c4", "vmx/8 read ax write sp"}, /* vmread rsp, rax */
    {"f3 0f c7 33", "vmx mem bx r8 rep"}, /* vmxon [rbx] */
    {"f2 0f 01 ff", "vmx repne"}, /* pvalidate rax, ecx, edx */
    {"0f 01 df", "vmx"}, /* invlpga rax, ecx */
    {"66 0f 01 cc", "vmx"}, /* tdcall */
    {"0f ae 3b", "clflush mem bx -"}, /* clflush [rbx] */
    {"66 0f ae 3b", "clflush mem bx -"}, /* clflushopt [rbx] */
    {"66 0f ae 33", "clflush mem bx -"}, /* clwb [rbx] */
    {"0f 1c 03", "clflush mem bx -"}, /* cldemote [rbx] */

    /* prefixes */
    {"66 48 89 c8", "plain/8 read cx write ax"}, /* mov rax, rcx */
    {"48 66 89 c8", "plain/2 read ax,cx write ax"}, /* mov ax, cx */
    {"48 48 89 c8", "plain/8 read cx write ax"}, /* mov rax, rcx */
    {"f2 f3 a4", "movs/1 read cx,si,di write cx,si,di rep"}, /* rep movsb */
    {"f3 f2 a4", "movs/1 read cx,si,di write cx,si,di repne"}, /* repne movsb */
    {"66 66 66 2e 0f 1f 84 00 00 00 00 00", "nop/2 mem cs:ax+ax*1+0/4 -"}, /* nop [rax+rax*1], ax */
    {"66 66 48 e8 00 00 00 00", "call_rel/8 imm 4 0 stack"}, /* call 0x00000008 */
    {"4f 89 c8", "plain/8 read r9 write r8"}, /* mov r8, r9 */
    {"f2 f0 01 03", "plain/4 read ax mem bx rw4 lock repne"}, /* xacquire lock add [rbx], eax */
};

const size_t insn_sample_count = ARRAY_LEN(insn_samples);
