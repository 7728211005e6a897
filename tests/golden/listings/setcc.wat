;; region at 0x400000, CPL 3: 5 instructions in 1 blocks, 685 bytes of WebAssembly
;; …
;; 0x400000: cmp rax, rbx
        (local.set $63 (local.get $rax))
        (local.set $64 (local.get $rbx))
        (local.set $65 (i64.sub (local.get $63) (local.get $64)))
        (local.set $66 (local.get $63))
        (local.set $67 (local.get $64))
        (local.set $68 (local.get $65))
        (local.set $CcResult (local.get $68))
        (local.set $CcA (local.get $66))
        (local.set $CcB (local.get $67))
;; 0x400003: setb al
        (local.set $rax
          (i64.or
            (i64.and (local.get $rax) (i64.const -256))
            (i64.and (i64.extend_i32_u (i64.lt_u (local.get $CcA) (local.get $CcB))) (i64.const 255))))
;; 0x400006: setg bl
        (local.set $rbx
          (i64.or
            (i64.and (local.get $rbx) (i64.const -256))
            (i64.and
              (i64.extend_i32_u (i32.eqz (i64.le_s (local.get $CcA) (local.get $CcB))))
              (i64.const 255))))
;; 0x400009: test edx, edx
        (local.set $68 (i64.extend_i32_s (i32.wrap_i64 (local.get $rdx))))
        (local.set $67 (i64.extend_i32_s (i32.wrap_i64 (local.get $rdx))))
        (local.set $66
          (i64.extend_i32_s (i32.and (i32.wrap_i64 (local.get $68)) (i32.wrap_i64 (local.get $67)))))
        (local.set $CcResult (local.get $66))
        (local.set $CcA (i64.const 0))
        (local.set $CcB (i64.const 0))
;; 0x40000b: sets byte ptr ds:[rdi]
        (local.set $66 (local.get $rdi))
        (local.set $67 (i64.extend_i32_u (i32.lt_s (i32.wrap_i64 (local.get $CcResult)) (i32.const 0))))
        (local.set $69 (i32.wrap_i64 (local.get $66)))
        (local.set $70
          (i32.add (local.get $tlb) (i32.and (i32.shr_u (local.get $69) (i32.const 8)) (i32.const 16368))))
        (i64.lt_u (i64.xor (local.get $66) (i64.load offset=16384 (local.get $70))) (i64.const 4096))
        if ;; likely
          (local.set $71 (i32.add (local.get $69) (i32.load offset=16392 (local.get $70))))
          (i64.store8 (local.get $71) (local.get $67))
        else
          (call $write
            (local.get $cpu)
            (local.get $66)
            (i32.const 1)
            (i32.or (i32.const 2) (i32.const 1))
            (local.get $67))
          (local.set $at (i32.const 17117195))
          (local.set $target (local.get $page))
          (br_if $2 (i32.load offset=2144 (; SlowStatus ;) (local.get $cpu))) ;; unlikely
        end
        (local.set $left (i32.sub (local.get $left) (i32.const 5)))
        (local.set $operation (i32.const 1))
        (local.set $target (i64.add (local.get $page) (i64.const 14)))
        (br $3)
      end
;; …
