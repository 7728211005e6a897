;; region at 0x400000, CPL 3: 3 instructions in 1 blocks, 933 bytes of WebAssembly
;; …
;; 0x400000: movups xmm0, xmmword ptr ds:[rsi]
        (local.set $63 (i32.load offset=1716 (; SimdDisabled ;) (local.get $cpu)))
        (local.get $63)
        if ;; unlikely
          (i32.eq (local.get $63) (i32.const 6))
          if ;; unlikely
            (call $raise (local.get $cpu) (i32.const 6) (i32.const 0))
            (local.set $status (i32.const 2))
            (local.set $at (i32.const 117518336))
            (local.set $target (local.get $page))
            (br $2)
          end
          (call $raise (local.get $cpu) (i32.const 7) (i32.const 0))
          (local.set $status (i32.const 2))
          (local.set $at (i32.const 117518336))
          (local.set $target (local.get $page))
          (br $2)
        end
        (local.set $64 (local.get $rsi))
        (local.set $66 (i32.wrap_i64 (local.get $64)))
        (local.set $67
          (i32.add (local.get $tlb) (i32.and (i32.shr_u (local.get $66) (i32.const 8)) (i32.const 16368))))
        (i64.lt_u (i64.xor (local.get $64) (i64.load (local.get $67))) (i64.const 4081))
        if ;; likely
          (local.set $68 (i32.add (local.get $66) (i32.load offset=8 (local.get $67))))
          (local.set $65 (local.get $68))
        else
          (local.set $69
            (call $pointer
              (local.get $cpu)
              (local.get $64)
              (i32.const 16)
              (i32.or (i32.const 2) (i32.const 0))))
          (local.set $65 (local.get $69))
          (local.set $at (i32.const 117518336))
          (local.set $target (local.get $page))
          (br_if $2 (i32.load offset=2144 (; SlowStatus ;) (local.get $cpu))) ;; unlikely
        end
        (local.set $70 (v128.load (local.get $65)))
        (local.set $xmm0 (local.get $70))
;; 0x400003: movups xmmword ptr ds:[rdi], xmm0
        (local.set $69 (i32.load offset=1716 (; SimdDisabled ;) (local.get $cpu)))
        (local.get $69)
        if ;; unlikely
          (i32.eq (local.get $69) (i32.const 6))
          if ;; unlikely
            (call $raise (local.get $cpu) (i32.const 6) (i32.const 0))
            (local.set $status (i32.const 2))
            (local.set $at (i32.const 117583875))
            (local.set $target (local.get $page))
            (br $2)
          end
          (call $raise (local.get $cpu) (i32.const 7) (i32.const 0))
          (local.set $status (i32.const 2))
          (local.set $at (i32.const 117583875))
          (local.set $target (local.get $page))
          (br $2)
        end
        (local.set $70 (local.get $xmm0))
        (local.set $71 (local.get $70))
        (local.set $64 (local.get $rdi))
        (local.set $67 (i32.wrap_i64 (local.get $64)))
        (local.set $66
          (i32.add (local.get $tlb) (i32.and (i32.shr_u (local.get $67) (i32.const 8)) (i32.const 16368))))
        (i64.lt_u (i64.xor (local.get $64) (i64.load offset=16384 (local.get $66))) (i64.const 4081))
        if ;; likely
          (local.set $65 (i32.add (local.get $67) (i32.load offset=16392 (local.get $66))))
          (local.set $68 (local.get $65))
        else
          (local.set $63
            (call $pointer
              (local.get $cpu)
              (local.get $64)
              (i32.const 16)
              (i32.or (i32.const 2) (i32.const 1))))
          (local.set $68 (local.get $63))
          (local.set $at (i32.const 117583875))
          (local.set $target (local.get $page))
          (br_if $2 (i32.load offset=2144 (; SlowStatus ;) (local.get $cpu))) ;; unlikely
        end
        (v128.store (local.get $68) (local.get $71))
        (i32.eq (local.get $68) (i32.add (local.get $cpu) (i32.const 6656)))
        if ;; unlikely
          (call $commit (local.get $cpu) (local.get $64) (i32.const 16))
          (local.set $at (i32.const 117583875))
          (local.set $target (local.get $page))
          (br_if $2 (i32.load offset=2144 (; SlowStatus ;) (local.get $cpu))) ;; unlikely
        end
;; 0x400006: pxor xmm1, xmm0
        (local.set $63 (i32.load offset=1716 (; SimdDisabled ;) (local.get $cpu)))
        (local.get $63)
        if ;; unlikely
          (i32.eq (local.get $63) (i32.const 6))
          if ;; unlikely
            (call $raise (local.get $cpu) (i32.const 6) (i32.const 0))
            (local.set $status (i32.const 2))
            (local.set $at (i32.const 117653510))
            (local.set $target (local.get $page))
            (br $2)
          end
          (call $raise (local.get $cpu) (i32.const 7) (i32.const 0))
          (local.set $status (i32.const 2))
          (local.set $at (i32.const 117653510))
          (local.set $target (local.get $page))
          (br $2)
        end
        (local.set $71 (local.get $xmm0))
        (local.set $70 (local.get $xmm1))
        (local.set $xmm1 (v128.xor (local.get $70) (local.get $71)))
        (local.set $left (i32.sub (local.get $left) (i32.const 3)))
        (local.set $target (i64.add (local.get $page) (i64.const 10)))
        (br $3)
      end
;; …
