;; region at 0x400000, CPL 3: 3 instructions in 1 blocks, 637 bytes of WebAssembly
;; entry and exits
(func $region0 (param $cpu i32) (param $left i32) (param $next i32) (result i32)
  (local $stamp i32) (local $rax i64) (local $rdx i64) (local $rbx i64) (local $CcResult i64) (local $CcA i64)
  (local $CcB i64) (local $CcOverflow i64) (local $CcAdjust i64) (local $operation i32) (local $page i64)
  (local $tlb i32) (local $at i32) (local $status i32) (local $target i64) (local $63 i64) (local $64 i64)
  (local $65 i64) (local $66 i64) (local $67 i64) (local $68 i64) (local $69 i32)
  (local.set $page
    (i64.sub
      (i64.load offset=144 (; RipPage ;) (local.get $cpu))
      (i64.shl (i64.extend_i32_s (i32.shr_s (local.get $next) (i32.const 16))) (i64.const 12))))
  (local.set $next (i32.and (local.get $next) (i32.const 65535)))
  (local.set $stamp
    (i32.or
      (i32.shl
        (i32.load offset=1736
          (i32.add
            (local.get $cpu)
            (i32.shl (i32.wrap_i64 (i64.shr_u (local.get $page) (i64.const 63))) (i32.const 2))))
        (i32.const 5))
      (i32.load offset=212 (; ModeKey ;) (local.get $cpu))))
  (local.set $tlb (i32.load offset=208 (; TlbBank ;) (local.get $cpu)))
  (local.set $rax (i64.load (; rax ;) (local.get $cpu)))
  (local.set $rdx (i64.load offset=16 (; rdx ;) (local.get $cpu)))
  (local.set $rbx (i64.load offset=24 (; rbx ;) (local.get $cpu)))
  (local.set $CcResult (i64.load offset=160 (; CcResult ;) (local.get $cpu)))
  (local.set $CcA (i64.load offset=168 (; CcA ;) (local.get $cpu)))
  (local.set $CcB (i64.load offset=176 (; CcB ;) (local.get $cpu)))
  (local.set $CcOverflow (i64.load offset=184 (; CcOverflow ;) (local.get $cpu)))
  (local.set $CcAdjust (i64.load offset=192 (; CcAdjust ;) (local.get $cpu)))
  block $1
    block
      block $3
;; 0x400000: add eax, ebx
        (local.set $63 (i64.extend_i32_s (i32.wrap_i64 (local.get $rax))))
        (local.set $64 (i64.extend_i32_s (i32.wrap_i64 (local.get $rbx))))
        (local.set $65
          (i64.extend_i32_s (i32.add (i32.wrap_i64 (local.get $63)) (i32.wrap_i64 (local.get $64)))))
        (local.set $rax (i64.extend_i32_u (i32.wrap_i64 (local.get $65))))
        (local.set $66 (local.get $63))
        (local.set $67 (local.get $64))
        (local.set $68 (local.get $65))
        (local.set $CcResult (local.get $68))
        (local.set $CcA (local.get $68))
        (local.set $CcB (local.get $66))
        (local.set $CcOverflow (local.get $67))
;; 0x400002: mov edx, 0x0
        (local.set $68 (i64.const 0))
        (local.set $rdx (i64.extend_i32_u (i32.wrap_i64 (local.get $68))))
;; 0x400008: adc edx, 0x0
        (local.set $68 (i64.extend_i32_s (i32.wrap_i64 (local.get $rdx))))
        (local.set $67 (i64.const 0))
        (local.set $66 (i64.extend_i32_u (i64.lt_u (local.get $CcA) (local.get $CcB))))
        (local.set $65
          (i64.extend_i32_s
            (i32.add
              (i32.add (i32.wrap_i64 (local.get $68)) (i32.wrap_i64 (local.get $67)))
              (i32.wrap_i64 (local.get $66)))))
        (local.set $rdx (i64.extend_i32_u (i32.wrap_i64 (local.get $65))))
        (local.set $69
          (i32.or
            (i64.lt_u (local.get $65) (local.get $68))
            (i32.and (i64.eq (local.get $65) (local.get $68)) (i32.wrap_i64 (local.get $66)))))
        (local.set $CcB (i64.extend_i32_u (local.get $69)))
        (local.set $CcA (i64.const 0))
        (local.set $CcOverflow
          (i64.shl
            (i64.extend_i32_u
              (i64.lt_s
                (i64.and
                  (i64.xor (local.get $68) (local.get $65))
                  (i64.xor (local.get $67) (local.get $65)))
                (i64.const 0)))
            (i64.const 63)))
        (local.set $CcResult (local.get $65))
        (local.set $CcAdjust
          (i64.shl
            (i64.extend_i32_u
              (i32.and
                (i32.wrap_i64
                  (i64.shr_u
                    (i64.xor (i64.xor (local.get $68) (local.get $67)) (local.get $65))
                    (i64.const 4)))
                (i32.const 1)))
            (i64.const 4)))
        (local.set $left (i32.sub (local.get $left) (i32.const 3)))
        (local.set $operation (i32.const 0))
        (local.set $target (i64.add (local.get $page) (i64.const 14)))
        (br $3)
      end
;; entry and exits
      (i64.store offset=152 (; Rip ;) (local.get $cpu) (local.get $target))
      (i32.store offset=2272 (; ExitRecord ;) (local.get $cpu) (i32.const 0))
      (local.set $status (i32.const 0))
      (br $1)
    end
    (i32.eqz (local.get $status))
    if
      (local.set $status (i32.load offset=2144 (; SlowStatus ;) (local.get $cpu)))
    end
    (i32.store8 offset=2274 (; ExitRecord.Length ;)
      (local.get $cpu)
      (i32.and (i32.shr_u (local.get $at) (i32.const 12)) (i32.const 15)))
    (i32.store8 offset=2275 (; ExitRecord.Count ;)
      (local.get $cpu)
      (i32.shr_u (local.get $at) (i32.const 16)))
    (i32.store16 offset=2276 (; ExitRecord.Offset ;)
      (local.get $cpu)
      (i32.and (local.get $at) (i32.const 4095)))
    (i64.store offset=144 (; RipPage ;) (local.get $cpu) (local.get $target))
    (local.set $69 (i32.shr_u (local.get $at) (i32.const 24)))
    (i32.ne (local.get $69) (i32.const 7))
    if
      (local.set $operation (local.get $69))
    end
  end
  block $6
    block $7
      block $8
        block $9
          block $10
            block $11
              (br_table $6 $11 $10 $9 $8 $7 $6 (local.get $operation))
            end
            (local.set $CcOverflow (i64.const 0))
            (local.set $CcAdjust (i64.const 0))
            (br $6)
          end
          (local.set $CcOverflow
            (i64.and
              (i64.xor (local.get $CcA) (local.get $CcB))
              (i64.xor (local.get $CcA) (local.get $CcResult))))
          (local.set $CcAdjust
            (i64.and
              (i64.xor (i64.xor (local.get $CcA) (local.get $CcB)) (local.get $CcResult))
              (i64.const 16)))
          (br $6)
        end
        (local.set $CcAdjust
          (i64.and
            (i64.xor (i64.xor (local.get $CcB) (local.get $CcOverflow)) (local.get $CcResult))
            (i64.const 16)))
        (local.set $CcOverflow
          (i64.and
            (i64.xor (local.get $CcB) (local.get $CcResult))
            (i64.xor (local.get $CcOverflow) (local.get $CcResult))))
        (br $6)
      end
      (local.set $CcAdjust (i64.and (i64.xor (local.get $CcOverflow) (local.get $CcResult)) (i64.const 16)))
      (local.set $CcOverflow (i64.and (i64.xor (local.get $CcOverflow) (i64.const -1)) (local.get $CcResult)))
      (br $6)
    end
    (local.set $CcAdjust (i64.and (i64.xor (local.get $CcOverflow) (local.get $CcResult)) (i64.const 16)))
    (local.set $CcOverflow (i64.and (local.get $CcOverflow) (i64.xor (local.get $CcResult) (i64.const -1))))
    (br $6)
  end
  (local.set $operation (i32.const 0))
  (i64.store (; rax ;) (local.get $cpu) (local.get $rax))
  (i64.store offset=16 (; rdx ;) (local.get $cpu) (local.get $rdx))
  (i64.store offset=160 (; CcResult ;) (local.get $cpu) (local.get $CcResult))
  (i64.store offset=168 (; CcA ;) (local.get $cpu) (local.get $CcA))
  (i64.store offset=176 (; CcB ;) (local.get $cpu) (local.get $CcB))
  (i64.store offset=184 (; CcOverflow ;) (local.get $cpu) (local.get $CcOverflow))
  (i64.store offset=192 (; CcAdjust ;) (local.get $cpu) (local.get $CcAdjust))
  (i32.store offset=2248 (; RegionStatus ;) (local.get $cpu) (local.get $status))
  (return (local.get $left))
)
