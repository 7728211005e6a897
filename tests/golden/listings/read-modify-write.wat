;; region at 0x400000, CPL 3: 1 instructions in 1 blocks, 591 bytes of WebAssembly
;; …
;; 0x400000: inc qword ptr ds:[rdi]
        (local.set $63 (local.get $rdi))
        (local.set $66 (i32.wrap_i64 (local.get $63)))
        (local.set $67
          (i32.add (local.get $tlb) (i32.and (i32.shr_u (local.get $66) (i32.const 8)) (i32.const 16368))))
        (i64.lt_u (i64.xor (local.get $63) (i64.load offset=16384 (local.get $67))) (i64.const 4089))
        if ;; likely
          (local.set $68 (i32.add (local.get $66) (i32.load offset=16392 (local.get $67))))
          (local.set $65 (local.get $68))
          (local.set $64 (i64.load (local.get $68)))
        else
          (local.set $69
            (call $modify
              (local.get $cpu)
              (local.get $63)
              (i32.const 8)
              (i32.or (i32.const 2) (i32.const 1))))
          (local.set $at (i32.const 117518336))
          (local.set $target (local.get $page))
          (br_if $2 (i32.load offset=2144 (; SlowStatus ;) (local.get $cpu))) ;; unlikely
          (local.set $64 (local.get $69))
          (local.set $65 (i32.const 0))
        end
        (local.set $70 (i64.add (local.get $64) (i64.const 1)))
        (local.set $71 (local.get $70))
        (local.get $65)
        if ;; likely
          (i64.store (local.get $65) (local.get $71))
        else
          (call $write
            (local.get $cpu)
            (local.get $63)
            (i32.const 8)
            (i32.or (i32.const 2) (i32.const 1))
            (local.get $71))
          (local.set $at (i32.const 117518336))
          (local.set $target (local.get $page))
          (br_if $2 (i32.load offset=2144 (; SlowStatus ;) (local.get $cpu))) ;; unlikely
        end
        (local.set $CcOverflow (local.get $64))
        (local.set $CcResult (local.get $70))
        (local.set $left (i32.sub (local.get $left) (i32.const 1)))
        (local.set $operation (i32.const 4))
        (local.set $target (i64.add (local.get $page) (i64.const 3)))
        (br $3)
      end
;; …
