;; region at 0x400000, CPL 3: 4 instructions in 2 blocks, 686 bytes of WebAssembly
;; …
;; 0x400000: inc rax
          (local.set $63 (local.get $rax))
          (local.set $64 (i64.add (local.get $63) (i64.const 1)))
          (local.set $rax (local.get $64))
          (local.set $CcOverflow (local.get $63))
          (local.set $CcResult (local.get $64))
;; 0x400003: jmp 0x401000
          (local.set $left (i32.sub (local.get $left) (i32.const 2)))
          (local.set $64 (i64.add (local.get $page) (i64.const 4096)))
          (local.set $65
            (i32.add
              (i32.add
                (local.get $cpu)
                (i32.shl
                  (i32.and (i32.shr_u (i32.wrap_i64 (local.get $64)) (i32.const 12)) (i32.const 255))
                  (i32.const 4)))
              (i32.const 147456)))
          (i32.or
            (i32.or
              (i32.eqz (i64.eqz (i64.xor (i64.load (local.get $65)) (local.get $64))))
              (i32.xor (i32.load offset=8 (local.get $65)) (local.get $stamp)))
            (i32.xor (i32.load offset=12 (local.get $65)) (i32.const 1)))
          if ;; unlikely
            (local.set $operation (i32.const 4))
            (local.set $target (i64.add (local.get $page) (i64.const 4096)))
            (br $3)
          end
;; 0x401000: dec ecx
          (local.set $63 (i64.extend_i32_s (i32.wrap_i64 (local.get $rcx))))
          (local.set $66 (i64.extend_i32_s (i32.add (i32.wrap_i64 (local.get $63)) (i32.const -1))))
          (local.set $rcx (i64.extend_i32_u (i32.wrap_i64 (local.get $66))))
          (local.set $CcOverflow (local.get $63))
          (local.set $CcResult (local.get $66))
;; 0x401002: jne 0x400000
          (i32.eqz (i64.eqz (local.get $CcResult)))
          if
            (local.set $left (i32.sub (local.get $left) (i32.const 2)))
            (local.set $66 (local.get $page))
            (local.set $67
              (i32.add
                (i32.add
                  (local.get $cpu)
                  (i32.shl
                    (i32.and (i32.shr_u (i32.wrap_i64 (local.get $66)) (i32.const 12)) (i32.const 255))
                    (i32.const 4)))
                (i32.const 147456)))
            (i32.or
              (i32.or
                (i32.eqz (i64.eqz (i64.xor (i64.load (local.get $67)) (local.get $66))))
                (i32.xor (i32.load offset=8 (local.get $67)) (local.get $stamp)))
              (i32.xor (i32.load offset=12 (local.get $67)) (i32.const 0)))
            if ;; unlikely
              (local.set $operation (i32.const 5))
              (local.set $target (i64.add (local.get $page) (i64.const 0)))
              (br $3)
            end
            (local.set $operation (i32.const 5))
            (i32.lt_s (local.get $left) (i32.const 0))
            if ;; unlikely
              (local.set $target (i64.add (local.get $page) (i64.const 0)))
              (br $3)
            end
            (br $4)
          end
          (local.set $left (i32.sub (local.get $left) (i32.const 2)))
          (local.set $operation (i32.const 5))
          (local.set $target (i64.add (local.get $page) (i64.const 4104)))
          (br $3)
        end
      end
;; …
